// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "wlr.hpp"

namespace stepscope {

enum class RendererChoice { automatic, pixman, gles2, vulkan };

/** A wlr_drm_format that frees its modifiers. */
class DrmFormat {
public:
    DrmFormat(uint32_t fourcc, std::span<const uint64_t> modifiers);
    DrmFormat(DrmFormat&& other) noexcept;
    DrmFormat& operator=(DrmFormat&&) = delete;
    DrmFormat(const DrmFormat&) = delete;
    DrmFormat& operator=(const DrmFormat&) = delete;
    ~DrmFormat();
    const wlr_drm_format* get() const { return &format_; }

private:
    wlr_drm_format format_{};
    wlr_drm_format_set set_{};
};

/** In place of a render node's path: none. */
inline constexpr const char* kSoftwareNode = "software";

/** The renderer for composing, and the allocator of what it draws into. */
class Renderer {
public:
    /**
     * Automatic: GLES2, else Vulkan, on the render node; pixman where there is no node or neither
     * works on it. `render_node` may be empty: the first one that the machine has. Or it is
     * kSoftwareNode: drawn with the CPU, into DMA-BUFs of ordinary memory.
     */
    static Result<Renderer> create(RendererChoice choice, const std::string& render_node);

    wlr_renderer* renderer() const { return renderer_.get(); }
    wlr_allocator* allocator() const { return allocator_.get(); }
    /** "pixman", "gles2" or "vulkan". */
    const std::string& name() const { return name_; }
    /** Path of the render node; empty for pixman. */
    const std::string& device() const { return device_; }
    /** Why this one, for the log. */
    const std::string& reason() const { return reason_; }
    /** Borrowed; -1 for pixman and without a render node. */
    int drm_fd() const { return drm_fd_.get(); }
    /** A device with timelines, for explicit sync; borrowed, -1 if the machine has none. */
    int timeline_device() const { return timeline_device_.get(); }
    /** Whether pictures of ours are DMA-BUFs. */
    bool makes_dmabufs() const {
        return (allocator_->buffer_caps & uint32_t{WLR_BUFFER_CAP_DMABUF}) != 0;
    }
    /** Whether the renderer itself waits for fences of what it reads, and makes its own. */
    bool knows_fences() const { return renderer_->features.timeline; }
    /**
     * What to allocate for pictures of ours in this format, or why it can't be drawn to. Linear
     * unless `modifiers`, those that consumers can read, are others only.
     */
    Result<DrmFormat> ring_format(uint32_t fourcc, std::span<const uint64_t> modifiers = {}) const;
    /**
     * To be called when a picture was drawn, before somebody else reads it: where the CPU draws
     * there is no fence to wait for. Does nothing where a GPU draws.
     */
    void finish_drawing() const;

private:
    static Result<Renderer> create_pixman(std::string reason);
    static Result<Renderer> create_on_node(RendererChoice choice, const std::string& node,
                                           std::string reason);

    static Result<Renderer> create_software(RendererChoice choice);
    Result<void> make_allocator();
    void find_timeline_device();
    void find_out_who_draws();

    UniqueFd drm_fd_;
    UniqueFd timeline_device_;
    Handle<wlr_renderer, wlr_renderer_destroy> renderer_;
    Handle<wlr_allocator, wlr_allocator_destroy> allocator_;
    std::string name_;
    std::string device_;
    std::string reason_;
    bool cpu_draws_ = false;  // and does not wait until it has drawn
};

}  // namespace stepscope
