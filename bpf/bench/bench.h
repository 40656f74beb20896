/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of lmk-bench; argv[1] is the command's name. Each returns its exit code. */
#ifndef LMK_BENCH_BENCH_H
#define LMK_BENCH_BENCH_H

int run_adjust(int argc, char **argv);
int run_guard(int argc, char **argv);
int run_level(int argc, char **argv);
int run_probe(int argc, char **argv);
int run_reader(int argc, char **argv);
int run_register(int argc, char **argv);
int run_spin(int argc, char **argv);
int run_watch(int argc, char **argv);

#endif
