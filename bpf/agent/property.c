// SPDX-License-Identifier: Apache-2.0
#include "property.h"

#include <string.h>

#include "clock.h"
#include "program.h"

#define GETPROP "/system/bin/getprop"
#define SETPROP "/system/bin/setprop"
/* Both answer in milliseconds; one that waits for a property service that hangs would not. */
#define PATIENCE_NS (3 * NSEC_PER_SEC)

int property_get(const char *name, char value[PROPERTY_BYTES])
{
	char *const words[] = {GETPROP, (char *)name, NULL};
	int error = program_run(words, PATIENCE_NS, false, value, PROPERTY_BYTES);

	if (error)
		value[0] = 0;
	value[strcspn(value, "\n")] = 0;
	return error;
}

int property_set(const char *name, const char *value)
{
	char *const words[] = {SETPROP, (char *)name, (char *)value, NULL};
	char said[8];

	return program_run(words, PATIENCE_NS, false, said, sizeof(said));
}
