/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON writer for stdout: keeps the commas right and strings escaped, nothing else. */
#ifndef LMK_JSON_H
#define LMK_JSON_H

#include <stdbool.h>

void json_open(const char *key, char bracket); /* key NULL in an array or at the top */
void json_close(char bracket);
void json_string(const char *key, const char *value); /* value NULL: null */
void json_number(const char *key, long long value);
void json_bool(const char *key, bool value);
void json_end(void); /* newline and flush */

#endif
