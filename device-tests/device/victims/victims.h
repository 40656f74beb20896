/* SPDX-License-Identifier: Apache-2.0 */
/* What the modes of `victims` are made of; victims.c says what each does. */
#ifndef LMK_TEST_VICTIMS_H
#define LMK_TEST_VICTIMS_H

/* With errno, and ends. */
void die(const char *what);
/* One line for the test. */
void say(const char *what, int pid);

/* Callers of the handlers (calls.c). Exit codes. */
int race(const char *pins, int threads);
int policies(char **words);
int trap(const char *pin, const char *op, const char *pid);
int ask(char **words);

/* Clients and rivals of the agent's sockets (sockets.c). */
void connect_to(const char *name, const char *hex);
void squat(const char *name, const char *hex);

#endif
