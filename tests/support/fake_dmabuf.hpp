// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <wayland-server-core.h>

#include <cstdint>

namespace stepscope::test {

/** Offers linux-dmabuf and takes whatever it is given, as buffers of one plane. */
void offer_fake_dmabuf(wl_display* display);

/** The DMA-BUF of a wl_buffer, borrowed; -1 if it is another sort of buffer. */
int fake_dmabuf_fd(wl_resource* buffer);

/** Bytes of a row, as its client said. */
uint32_t fake_dmabuf_stride(wl_resource* buffer);

/** From now on none is taken, or all are again. Of the display's thread. */
void refuse_fake_dmabufs(bool refuse);

}  // namespace stepscope::test
