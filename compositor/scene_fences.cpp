// SPDX-License-Identifier: LGPL-2.1-or-later
#include "scene_fences.hpp"

#include "buffer_fences.hpp"

namespace stepscope {
namespace {

wlr_surface* surface_of(wlr_scene_buffer* buffer) {
    const wlr_scene_surface* surface = wlr_scene_surface_try_from_buffer(buffer);
    return surface != nullptr && buffer->buffer != nullptr ? surface->surface : nullptr;
}

void take_fence(wlr_scene_buffer* buffer, int /*sx*/, int /*sy*/, void* /*data*/) {
    wlr_surface* surface = surface_of(buffer);
    if (surface == nullptr || wlr_linux_drm_syncobj_v1_get_surface_state(surface) == nullptr) {
        return;
    }
    pixman_region32_t nothing;
    pixman_region32_init(&nothing);
    wlr_scene_buffer_set_buffer_options options{};
    options.damage = &nothing;
    wlr_scene_buffer_set_buffer_with_options(buffer, buffer->buffer, &options);
    pixman_region32_fini(&nothing);
}

void add_pending(wlr_scene_buffer* buffer, int /*sx*/, int /*sy*/, void* data) {
    if (wlr_surface* surface = surface_of(buffer)) {
        if (auto fence = acquire_fence(surface, buffer->buffer)) {
            merge_into(*static_cast<std::optional<SyncFile>*>(data), std::move(*fence));
        }
    }
}

}  // namespace

void take_fences_from_scene(wlr_scene_output* output) {
    wlr_scene_output_for_each_buffer(output, take_fence, nullptr);
}

std::optional<SyncFile> pending_in_scene(wlr_scene_output* output) {
    std::optional<SyncFile> pending;
    wlr_scene_output_for_each_buffer(output, add_pending, &pending);
    return pending;
}

}  // namespace stepscope
