// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-server-core.h>

namespace stepscope::test {

/** Offers linux-dmabuf and takes whatever it is given, as buffers of one plane. */
void offer_fake_dmabuf(wl_display* display);

/** The DMA-BUF of a wl_buffer, borrowed; -1 if it is another sort of buffer. */
int fake_dmabuf_fd(wl_resource* buffer);

}  // namespace stepscope::test
