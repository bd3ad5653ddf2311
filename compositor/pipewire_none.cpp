// SPDX-License-Identifier: LGPL-2.1-or-later
// What a build without libpipewire has in the place of pipewire_session.cpp.
#include "pipewire_session.hpp"

namespace stepscope {

bool pipewire_built_in() {
    return false;
}

Result<std::unique_ptr<PipewireSession>> create_pipewire_session(
    wl_display* /*display*/, const PipewireOffer& /*offer*/, const PictureServices& /*services*/) {
    return fail(
        Fault::unsupported,
        "this stepscope was built without PipeWire; install libpipewire-0.3 and build again");
}

}  // namespace stepscope
