/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of the system's own that the agent has to ask: getprop, setprop, systemctl.
 */
#ifndef LMK_AGENT_PROGRAM_H
#define LMK_AGENT_PROGRAM_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Runs words[0], an absolute path, and waits for its end, or kills it when patience is over.
 * `text`: what it prints, as far as it fits, and `with_errors` also what it says is wrong.
 * 0; -EPERM: it ended with an exit code; -ETIMEDOUT; or another -errno (-ENOENT: there is none).
 */
int program_run(char *const words[], __u64 patience_ns, bool with_errors, char *text, size_t size);

#endif
