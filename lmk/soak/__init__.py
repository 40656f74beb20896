# SPDX-License-Identifier: Apache-2.0
"""A long run under random pressure and app churn, and everything that must hold while it lasts.

``tools/soak`` is the way in. What it judges by is the device's own record (the population's
parent, the kernel's trace of signals); the stream of kill reports is what is judged.
"""
