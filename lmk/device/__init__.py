# SPDX-License-Identifier: Apache-2.0
"""Devices: what they offer (interface), and the transports that reach them."""
