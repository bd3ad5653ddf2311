// SPDX-License-Identifier: LGPL-2.1-or-later
#include "downstream_memory.hpp"

#include <gst/allocators/gstdmabuf.h>

#include <algorithm>
#include <format>

namespace stepscope {
namespace {

/** Rows of memory from an allocator begin at multiples of this: what all GPUs can write to. */
constexpr uint64_t kRowAlignment = 256;

std::unexpected<Error> unusable(const std::string& why) {
    return fail(Fault::unsupported, why);
}

/** Rows of linear pictures, one after the other. */
PlaneLayout rows_of(const PictureFormat& format, bool aligned) {
    const uint64_t row = uint64_t{format.width} * bytes_per_pixel(format.fourcc);
    PlaneLayout layout;
    layout.planes = 1;
    layout.stride[0] = static_cast<gint>(
        aligned ? (row + kRowAlignment - 1) / kRowAlignment * kRowAlignment : (row + 3) / 4 * 4);
    return layout;
}

PlaneLayout layout_of(const GstVideoMeta& meta) {
    PlaneLayout layout;
    layout.planes = std::min<unsigned>(meta.n_planes, layout.offset.size());
    std::copy_n(meta.offset, layout.planes, layout.offset.begin());
    std::copy_n(meta.stride, layout.planes, layout.stride.begin());
    return layout;
}

/** Lives as long as the use of a buffer: its pool takes it off when the last reference goes. */
struct ReturnNotice {
    GstMeta meta;
    std::function<void()>* returned;
};

gboolean init_notice(GstMeta* meta, gpointer, GstBuffer*) {
    reinterpret_cast<ReturnNotice*>(meta)->returned = nullptr;
    return TRUE;
}

void end_notice(GstMeta* meta, GstBuffer*) {
    const std::unique_ptr<std::function<void()>> returned(
        reinterpret_cast<ReturnNotice*>(meta)->returned);
    if (returned && *returned) {
        (*returned)();
    }
}

/** A copy of the buffer is another buffer. */
gboolean leave_notice(GstBuffer*, GstMeta*, GstBuffer*, GQuark, gpointer) {
    return TRUE;
}

const GstMetaInfo* notice_info() {
    static const GstMetaInfo* const info = [] {
        static const gchar* tags[] = {nullptr};
        return gst_meta_register(gst_meta_api_type_register("GstStepscopeReturnNoticeAPI", tags),
                                 "GstStepscopeReturnNotice", sizeof(ReturnNotice), init_notice,
                                 end_notice, leave_notice);
    }();
    return info;
}

}  // namespace

MemoryProposal MemoryProposal::from(GstQuery* query) {
    MemoryProposal proposal;
    GstCaps* caps = nullptr;
    gst_query_parse_allocation(query, &caps, nullptr);
    if (caps != nullptr) {
        proposal.caps.reset(gst_caps_ref(caps));
    }
    if (gst_query_get_n_allocation_pools(query) > 0) {
        GstBufferPool* pool = nullptr;
        gst_query_parse_nth_allocation_pool(query, 0, &pool, &proposal.size, &proposal.minimum,
                                            &proposal.maximum);
        proposal.pool.reset(pool);
    }
    if (gst_query_get_n_allocation_params(query) > 0) {
        GstAllocator* allocator = nullptr;
        gst_query_parse_nth_allocation_param(query, 0, &allocator, &proposal.params);
        proposal.allocator.reset(allocator);
    }
    proposal.video_meta =
        gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr) != FALSE;
    return proposal;
}

Result<std::unique_ptr<DownstreamMemory>> DownstreamMemory::create(const MemoryProposal& proposal,
                                                                   const PictureFormat& format,
                                                                   uint32_t buffers) {
    const bool ours = !proposal.pool;
    if (ours && !proposal.allocator) {
        return unusable("downstream proposes none");
    }
    if (ours && GST_OBJECT_FLAG_IS_SET(proposal.allocator.get(), GST_ALLOCATOR_FLAG_CUSTOM_ALLOC)) {
        return unusable("downstream's allocator can't be asked for memory");
    }
    const bool linear = raw_video_format(format) != GST_VIDEO_FORMAT_UNKNOWN;
    if (ours && !linear) {
        return unusable("downstream proposes an allocator only, which can't know the modifier");
    }
    const PlaneLayout layout =
        linear ? rows_of(format, ours && proposal.video_meta) : PlaneLayout{};
    GstPtr<GstBufferPool> pool(ours ? gst_buffer_pool_new()
                                    : GST_BUFFER_POOL_CAST(gst_object_ref(proposal.pool.get())));
    std::unique_ptr<DownstreamMemory> memory(new DownstreamMemory(std::move(pool), format, layout));
    if (auto active = memory->activate(proposal, buffers, ours); !active) {
        return std::unexpected(active.error());
    }
    // Only the memory itself tells what it is.
    auto first = memory->acquire();
    if (!first) {
        return std::unexpected(first.error());
    }
    if (!*first) {
        return unusable("downstream's pool has no buffer");
    }
    return memory;
}

Result<void> DownstreamMemory::activate(const MemoryProposal& proposal, uint32_t buffers,
                                        bool ours) {
    unsigned size = proposal.size;
    // Asked while a buffer is on its way back, a pool makes another one; and there is one for
    // repeats.
    unsigned maximum = std::max(buffers + 1, proposal.minimum);
    if (proposal.maximum != 0) {
        maximum = std::min(maximum, proposal.maximum);
    }
    if (ours) {
        size = static_cast<unsigned>(layout_.stride[0]) * format_.height;
    }
    auto apply = [&](GstStructure* config) {
        gst_buffer_pool_config_set_params(config, proposal.caps.get(), size, proposal.minimum,
                                          maximum);
        if (proposal.allocator) {
            gst_buffer_pool_config_set_allocator(config, proposal.allocator.get(),
                                                 &proposal.params);
        }
        if (gst_buffer_pool_has_option(pool_.get(), GST_BUFFER_POOL_OPTION_VIDEO_META) &&
            proposal.video_meta) {
            gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
        }
        return gst_buffer_pool_set_config(pool_.get(), config) != FALSE;
    };
    if (!apply(gst_buffer_pool_get_config(pool_.get()))) {
        // It may have changed what does not suit it; more buffers than asked for do no harm.
        GstStructure* changed = gst_buffer_pool_get_config(pool_.get());
        if (!gst_buffer_pool_config_validate_params(changed, proposal.caps.get(), size,
                                                    proposal.minimum, 0)) {
            gst_structure_free(changed);
            return unusable("downstream's pool can't be set up for these pictures");
        }
        if (!gst_buffer_pool_set_config(pool_.get(), changed)) {
            return unusable("downstream's pool can't be set up for these pictures");
        }
    }
    if (!gst_buffer_pool_set_active(pool_.get(), TRUE)) {
        return unusable("downstream's pool can't allocate");
    }
    return {};
}

DownstreamMemory::~DownstreamMemory() {
    gst_buffer_pool_set_active(pool_.get(), FALSE);
}

Result<std::optional<DownstreamMemory::Picture>> DownstreamMemory::acquire() {
    GstBufferPoolAcquireParams params{};
    params.flags = GST_BUFFER_POOL_ACQUIRE_FLAG_DONTWAIT;
    GstBuffer* acquired = nullptr;
    const GstFlowReturn flow = gst_buffer_pool_acquire_buffer(pool_.get(), &acquired, &params);
    if (flow == GST_FLOW_EOS) {
        return std::nullopt;
    }
    if (flow != GST_FLOW_OK) {
        return unusable(
            std::format("downstream's pool gives no buffers ({})", gst_flow_get_name(flow)));
    }
    auto described = describe(GstPtr<GstBuffer>(acquired));
    if (!described) {
        return std::unexpected(described.error());
    }
    return std::optional(std::move(*described));
}

Result<DownstreamMemory::Picture> DownstreamMemory::describe(GstPtr<GstBuffer> buffer) const {
    for (guint index = 0; index < gst_buffer_n_memory(buffer.get()); ++index) {
        if (!gst_is_dmabuf_memory(gst_buffer_peek_memory(buffer.get(), index))) {
            return unusable("downstream's memory is no DMA-BUF");
        }
    }
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer.get());
    Picture picture;
    picture.layout = meta != nullptr ? layout_of(*meta) : layout_;
    if (picture.layout.planes == 0) {
        return unusable("downstream's buffers have no GstVideoMeta with planes");
    }
    for (unsigned plane = 0; plane < picture.layout.planes; ++plane) {
        guint index = 0;
        guint length = 0;
        gsize skip = 0;
        if (!gst_buffer_find_memory(buffer.get(), picture.layout.offset[plane], 1, &index, &length,
                                    &skip)) {
            return unusable("downstream's buffers are smaller than their GstVideoMeta says");
        }
        GstMemory* memory = gst_buffer_peek_memory(buffer.get(), index);
        const gsize offset = memory->offset + skip;
        UniqueFd fd = UniqueFd::duplicate(gst_dmabuf_memory_get_fd(memory));
        if (!fd) {
            return fail_errno("can't duplicate the descriptor of downstream's memory");
        }
        if (picture.layout.stride[plane] <= 0 || offset > UINT32_MAX) {
            return unusable("downstream's buffers have rows that DRM can't describe");
        }
        picture.planes.push_back({std::move(fd), static_cast<uint32_t>(offset),
                                  static_cast<uint32_t>(picture.layout.stride[plane])});
    }
    if (raw_video_format(format_) != GST_VIDEO_FORMAT_UNKNOWN) {
        const uint64_t row = uint64_t{format_.width} * bytes_per_pixel(format_.fourcc);
        const uint64_t stride = picture.planes.front().stride;
        const uint64_t end =
            picture.layout.offset[0] + stride * (uint64_t{format_.height} - 1) + row;
        if (stride < row || end > gst_buffer_get_size(buffer.get())) {
            return unusable("downstream's buffers are too small for a picture");
        }
    }
    picture.buffer = std::move(buffer);
    return picture;
}

void notify_when_returned(GstBuffer* buffer, std::function<void()> returned) {
    GstMeta* meta = gst_buffer_add_meta(buffer, notice_info(), nullptr);
    reinterpret_cast<ReturnNotice*>(meta)->returned =
        new std::function<void()>(std::move(returned));
}

}  // namespace stepscope
