// SPDX-License-Identifier: LGPL-2.1-or-later
#include "renderer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <format>
#include <utility>
#include <vector>

#include "base/timeline.hpp"
#include "memfd_allocator.hpp"
#include "udmabuf_allocator.hpp"

namespace stepscope {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> render_nodes() {
    std::vector<std::string> nodes;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/dev/dri", error)) {
        if (entry.path().filename().string().starts_with("renderD")) {
            nodes.push_back(entry.path());
        }
    }
    std::ranges::sort(nodes);
    return nodes;
}

/** What wlr_allocator_autocreate() wants to know of a backend before there is one. */
struct AllocatorBackend {
    wlr_backend backend{};
    int drm_fd = -1;

    explicit AllocatorBackend(int fd) : drm_fd(fd) {
        static const wlr_backend_impl impl{
            .start = nullptr,
            .destroy = nullptr,
            .get_drm_fd =
                [](wlr_backend* raw) {
                    AllocatorBackend* self = nullptr;
                    self = wl_container_of(raw, self, backend);
                    return self->drm_fd;
                },
            .test = nullptr,
            .commit = nullptr,
        };
        wlr_backend_init(&backend, &impl);
        backend.buffer_caps = WLR_BUFFER_CAP_DATA_PTR | WLR_BUFFER_CAP_DMABUF | WLR_BUFFER_CAP_SHM;
    }
    AllocatorBackend(const AllocatorBackend&) = delete;
    AllocatorBackend& operator=(const AllocatorBackend&) = delete;
    ~AllocatorBackend() { wlr_backend_finish(&backend); }
};

}  // namespace

DrmFormat::DrmFormat(uint32_t fourcc, std::span<const uint64_t> modifiers) {
    for (uint64_t modifier : modifiers) {
        wlr_drm_format_set_add(&set_, fourcc, modifier);
    }
    format_ = *wlr_drm_format_set_get(&set_, fourcc);
}

DrmFormat::DrmFormat(DrmFormat&& other) noexcept
    : format_(std::exchange(other.format_, {})), set_(std::exchange(other.set_, {})) {}

DrmFormat::~DrmFormat() {
    wlr_drm_format_set_finish(&set_);
}

Result<Renderer> Renderer::create_pixman(std::string reason) {
    Renderer result;
    result.renderer_.reset(wlr_pixman_renderer_create());
    if (!result.renderer_) {
        return fail(Fault::system, "the pixman renderer can't start");
    }
    result.allocator_.reset(create_memfd_allocator());
    result.name_ = "pixman";
    result.reason_ = std::move(reason);
    return result;
}

Result<Renderer> Renderer::create_on_node(RendererChoice choice, const std::string& node,
                                          std::string reason) {
    Renderer result;
    result.name_ = choice == RendererChoice::vulkan ? "vulkan" : "gles2";
    result.device_ = node;
    result.reason_ = std::move(reason);
    result.drm_fd_.reset(::open(node.c_str(), O_RDWR | O_CLOEXEC));
    if (!result.drm_fd_) {
        return fail_errno(std::format("can't open the render node '{}'", node));
    }
    result.renderer_.reset(choice == RendererChoice::vulkan
                               ? wlr_vk_renderer_create_with_drm_fd(result.drm_fd_.get())
                               : wlr_gles2_renderer_create_with_drm_fd(result.drm_fd_.get()));
    if (!result.renderer_) {
        return fail(Fault::unsupported,
                    std::format("the {} renderer can't start on '{}'; --verbose shows why",
                                result.name_, node));
    }
    if (auto made = result.make_allocator(); !made) {
        return std::unexpected(made.error());
    }
    result.find_timeline_device();
    result.find_out_who_draws();
    return result;
}

// Not every device that a renderer starts on can allocate: vgem, and virtio-gpu's render node.
Result<void> Renderer::make_allocator() {
    AllocatorBackend backend(drm_fd_.get());
    allocator_.reset(wlr_allocator_autocreate(&backend.backend, renderer_.get()));
    if (allocator_) {
        const DrmFormat format(DRM_FORMAT_XRGB8888, std::array<uint64_t, 1>{DRM_FORMAT_MOD_LINEAR});
        if (wlr_buffer* probe =
                wlr_allocator_create_buffer(allocator_.get(), 64, 64, format.get())) {
            wlr_buffer_drop(probe);
            return {};
        }
    }
    auto udmabuf = Udmabuf::open();
    if (!udmabuf) {
        return fail(Fault::unsupported,
                    std::format("no memory of '{}' can be shared with the {} renderer, and {}",
                                device_, name_, udmabuf.error().message));
    }
    allocator_.reset(create_udmabuf_allocator(std::move(*udmabuf)));
    reason_ += "; memory from /dev/udmabuf";
    return {};
}

void Renderer::find_timeline_device() {
    if (Timeline::supported(drm_fd_.get())) {
        timeline_device_ = drm_fd_.duplicate();
        return;
    }
    // Timelines are the kernel's, not the device's: another one will do.
    for (const std::string& node : render_nodes()) {
        UniqueFd device(::open(node.c_str(), O_RDWR | O_CLOEXEC));
        if (device && Timeline::supported(device.get())) {
            timeline_device_ = std::move(device);
            return;
        }
    }
}

namespace {

/** Makes a renderer's context current, and none again. */
class CurrentContext {
public:
    explicit CurrentContext(wlr_renderer* renderer) {
        wlr_egl* egl = wlr_gles2_renderer_get_egl(renderer);
        display_ = wlr_egl_get_display(egl);
        current_ = eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE,
                                  wlr_egl_get_context(egl)) == EGL_TRUE;
    }
    CurrentContext(const CurrentContext&) = delete;
    CurrentContext& operator=(const CurrentContext&) = delete;
    ~CurrentContext() {
        if (current_) {
            eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
        }
    }
    explicit operator bool() const { return current_; }

private:
    EGLDisplay display_;
    bool current_;
};

}  // namespace

void Renderer::find_out_who_draws() {
    // Vulkan, where it has no fences to give away, waits by itself.
    if (!wlr_renderer_is_gles2(renderer_.get())) {
        return;
    }
    if (CurrentContext context(renderer_.get()); context) {
        const auto* who = reinterpret_cast<const char*>(glGetString(GL_RENDERER));
        const std::string_view name = who != nullptr ? who : "";
        cpu_draws_ = name.contains("llvmpipe") || name.contains("softpipe");
    }
}

void Renderer::finish_drawing() const {
    if (!cpu_draws_) {
        return;
    }
    if (CurrentContext context(renderer_.get()); context) {
        glFinish();
    }
}

Result<Renderer> Renderer::create_software(RendererChoice choice) {
    Renderer result;
    const bool vulkan = choice == RendererChoice::vulkan;
    result.name_ = vulkan ? "vulkan" : "gles2";
    result.reason_ = "drawn with the CPU, as asked for with --render-node";
    auto udmabuf = Udmabuf::open();
    if (!udmabuf) {
        return fail(Fault::unsupported,
                    std::format("--render-node {} with {} needs /dev/udmabuf: {}; use --renderer "
                                "pixman",
                                kSoftwareNode, result.name_, udmabuf.error().message));
    }
    result.renderer_.reset(vulkan ? wlr_vk_renderer_create_with_drm_fd(-1)
                                  : wlr_gles2_renderer_create_with_drm_fd(-1));
    if (!result.renderer_) {
        return fail(Fault::unsupported,
                    std::format("the {} renderer can't draw with the CPU here; --verbose shows why",
                                result.name_));
    }
    result.allocator_.reset(create_udmabuf_allocator(std::move(*udmabuf)));
    result.find_out_who_draws();
    return result;
}

Result<Renderer> Renderer::create(RendererChoice choice, const std::string& render_node) {
    if (choice == RendererChoice::pixman) {
        return create_pixman("asked for with --renderer");
    }
    if (render_node == kSoftwareNode) {
        return choice == RendererChoice::automatic ? create_pixman("asked for with --render-node")
                                                   : create_software(choice);
    }
    const std::vector<std::string> nodes =
        render_node.empty() ? render_nodes() : std::vector{render_node};
    if (choice != RendererChoice::automatic) {
        if (nodes.empty()) {
            return fail(Fault::unsupported,
                        std::format("--renderer {} needs a GPU and /dev/dri has no render node; "
                                    "use --renderer pixman",
                                    choice == RendererChoice::vulkan ? "vulkan" : "gles2"));
        }
        return create_on_node(choice, nodes.front(), "asked for with --renderer");
    }
    if (nodes.empty()) {
        return create_pixman("no render node in /dev/dri");
    }
    std::string failures;
    for (const std::string& node : nodes) {
        for (RendererChoice candidate : {RendererChoice::gles2, RendererChoice::vulkan}) {
            auto renderer = create_on_node(candidate, node, "the first that works on this machine");
            if (renderer) {
                return renderer;
            }
            failures += (failures.empty() ? "" : "; ") + renderer.error().message;
        }
    }
    if (!render_node.empty()) {
        return fail(Fault::unsupported, failures);
    }
    return create_pixman(failures);
}

Result<DrmFormat> Renderer::ring_format(uint32_t fourcc,
                                        std::span<const uint64_t> modifiers) const {
    constexpr std::array<uint64_t, 1> kLinear{DRM_FORMAT_MOD_LINEAR};
    constexpr std::array<uint64_t, 1> kImplicit{DRM_FORMAT_MOD_INVALID};
    if (makes_dmabufs()) {
        const bool linear =
            modifiers.empty() || std::ranges::contains(modifiers, DRM_FORMAT_MOD_LINEAR);
        return DrmFormat(fourcc, linear ? std::span<const uint64_t>(kLinear) : modifiers);
    }
    const wlr_drm_format_set* formats =
        wlr_renderer_get_texture_formats(renderer(), WLR_BUFFER_CAP_DATA_PTR);
    if (formats == nullptr || wlr_drm_format_set_get(formats, fourcc) == nullptr) {
        return fail(Fault::unsupported, std::format("{} can't draw {:#x}", name_, fourcc));
    }
    return DrmFormat(fourcc, kImplicit);
}

}  // namespace stepscope
