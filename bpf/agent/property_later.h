/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System properties set by a thread of their own: `setprop` is a process, and a property service
 * that hangs would hold up who asks.
 */
#ifndef LMK_AGENT_PROPERTY_LATER_H
#define LMK_AGENT_PROPERTY_LATER_H

/*
 * Sets it soon, in the order of the calls; of two values that wait for one name the later counts.
 * One that is refused is said in the log. 0 or -errno: -ENOSPC: too many names wait.
 */
int property_set_later(const char *name, const char *value);

#endif
