/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LMK_PROCESS_SCAN_H
#define LMK_PROCESS_SCAN_H

/* Pid of a process whose executable's file name is `name`; 0: none (or not ours to see). */
int lmk_find_process(const char *name);

#endif
