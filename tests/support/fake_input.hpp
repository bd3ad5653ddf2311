// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-server-core.h>

#include <string>
#include <vector>

namespace stepscope::test {

/** Offers a seat and virtual input whose requests are written to `log`, one text each. */
void add_fake_input(wl_display* display, std::vector<std::string>& log);

/** A gamepad of the control protocol, likewise. */
void add_fake_gamepad(wl_client* client, uint32_t id, std::vector<std::string>& log);

}  // namespace stepscope::test
