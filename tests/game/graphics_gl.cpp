// SPDX-License-Identifier: LGPL-2.1-or-later
// EGL, linked, and GLX, looked up as SDL does it: programs get at their swap functions both ways.
#include <EGL/egl.h>
#include <EGL/eglext.h>
#include <GL/gl.h>
#include <GL/glx.h>
#include <dlfcn.h>
#include <wayland-egl.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>

#include "graphics.hpp"

namespace stepscope::testgame {

namespace {

void draw_pixels(const frame_code::Pixels& pixels) {
    glViewport(0, 0, pixels.width, pixels.height);
    glRasterPos2f(-1, 1);
    glPixelZoom(1, -1);  // our first row is the topmost
    glDrawPixels(pixels.width, pixels.height, GL_BGRA, GL_UNSIGNED_BYTE, pixels.data);
}

class EglGraphics final : public Graphics {
public:
    explicit EglGraphics(const NativeWindow& window) : native_(window) {}
    ~EglGraphics() override;
    Result<void> start(const Options& options);

protected:
    Result<void> resize(int width, int height) override;
    Result<void> present(const frame_code::Pixels& pixels) override;

private:
    const NativeWindow native_;
    int interval_ = 1;
    EGLDisplay display_ = EGL_NO_DISPLAY;
    EGLConfig config_ = nullptr;
    EGLContext context_ = EGL_NO_CONTEXT;
    EGLSurface surface_ = EGL_NO_SURFACE;
    wl_egl_window* window_ = nullptr;
    PFNEGLSWAPBUFFERSWITHDAMAGEKHRPROC swap_with_damage_ = nullptr;
};

std::unexpected<Error> egl_error(const char* what) {
    return fail(Fault::unsupported,
                std::string(what) + " failed with EGL error " + std::to_string(eglGetError()));
}

Result<void> EglGraphics::start(const Options& options) {
    interval_ = options.interval;
    display_ = native_.wayland != nullptr
                   ? eglGetPlatformDisplay(EGL_PLATFORM_WAYLAND_KHR, native_.wayland, nullptr)
                   : eglGetPlatformDisplay(EGL_PLATFORM_XCB_EXT, native_.x11, nullptr);
    if (display_ == EGL_NO_DISPLAY || !eglInitialize(display_, nullptr, nullptr)) {
        return egl_error("eglInitialize");
    }
    static constexpr EGLint attributes[] = {EGL_SURFACE_TYPE,
                                            EGL_WINDOW_BIT,
                                            EGL_RENDERABLE_TYPE,
                                            EGL_OPENGL_BIT,
                                            EGL_RED_SIZE,
                                            8,
                                            EGL_GREEN_SIZE,
                                            8,
                                            EGL_BLUE_SIZE,
                                            8,
                                            EGL_NONE};
    std::array<EGLConfig, 64> configs{};
    EGLint count = 0;
    if (!eglBindAPI(EGL_OPENGL_API) ||
        !eglChooseConfig(display_, attributes, configs.data(), configs.size(), &count)) {
        return egl_error("eglChooseConfig");
    }
    for (EGLint i = 0; i < count && config_ == nullptr; ++i) {
        const EGLConfig config = configs[static_cast<size_t>(i)];
        EGLint visual = 0;
        EGLint red = 0;
        eglGetConfigAttrib(display_, config, EGL_RED_SIZE, &red);
        eglGetConfigAttrib(display_, config, EGL_NATIVE_VISUAL_ID, &visual);
        // Those with more bits come first.
        if (red == 8 &&
            (native_.wayland != nullptr || static_cast<uint32_t>(visual) == native_.visual)) {
            config_ = config;
        }
    }
    context_ = config_ != nullptr ? eglCreateContext(display_, config_, EGL_NO_CONTEXT, nullptr)
                                  : EGL_NO_CONTEXT;
    if (context_ == EGL_NO_CONTEXT) {
        return egl_error("eglCreateContext");
    }
    const char* extensions = eglQueryString(display_, EGL_EXTENSIONS);
    if (options.swap_damage) {
        if (std::strstr(extensions, "EGL_KHR_swap_buffers_with_damage") == nullptr) {
            return fail(Fault::unsupported, "--swap-damage: EGL can't do it here");
        }
        swap_with_damage_ = reinterpret_cast<PFNEGLSWAPBUFFERSWITHDAMAGEKHRPROC>(
            eglGetProcAddress("eglSwapBuffersWithDamageKHR"));
    }
    return {};
}

EglGraphics::~EglGraphics() {
    if (display_ != EGL_NO_DISPLAY) {
        eglMakeCurrent(display_, EGL_NO_SURFACE, EGL_NO_SURFACE, EGL_NO_CONTEXT);
        if (surface_ != EGL_NO_SURFACE) {
            eglDestroySurface(display_, surface_);
        }
        eglTerminate(display_);
    }
    if (window_ != nullptr) {
        wl_egl_window_destroy(window_);
    }
}

Result<void> EglGraphics::resize(int width, int height) {
    if (window_ != nullptr) {
        wl_egl_window_resize(window_, width, height, 0, 0);
    }
    if (surface_ != EGL_NO_SURFACE) {
        return {};
    }
    uint32_t x11_window = native_.window;
    if (native_.wayland != nullptr) {
        window_ = wl_egl_window_create(native_.surface, width, height);
    }
    surface_ = eglCreatePlatformWindowSurface(
        display_, config_,
        window_ != nullptr ? static_cast<void*>(window_) : static_cast<void*>(&x11_window),
        nullptr);
    if (surface_ == EGL_NO_SURFACE || !eglMakeCurrent(display_, surface_, surface_, context_) ||
        !eglSwapInterval(display_, interval_)) {
        return egl_error("eglCreatePlatformWindowSurface");
    }
    return {};
}

Result<void> EglGraphics::present(const frame_code::Pixels& pixels) {
    draw_pixels(pixels);
    EGLint all[] = {0, 0, pixels.width, pixels.height};
    const EGLBoolean shown = swap_with_damage_ != nullptr
                                 ? swap_with_damage_(display_, surface_, all, 1)
                                 : eglSwapBuffers(display_, surface_);
    if (!shown) {
        return egl_error("eglSwapBuffers");
    }
    return {};
}

class GlxGraphics final : public Graphics {
public:
    explicit GlxGraphics(const NativeWindow& window) : window_(window) {}
    ~GlxGraphics() override;
    Result<void> start(const Options& options);

protected:
    Result<void> resize(int width, int height) override;
    Result<void> present(const frame_code::Pixels& pixels) override;

private:
    template <typename Function>
    Function find(const char* name) const {
        return reinterpret_cast<Function>(dlsym(library_, name));
    }

    const NativeWindow window_;
    void* library_ = nullptr;
    Display* display_ = nullptr;
    GLXContext context_ = nullptr;
    decltype(&glXSwapBuffers) swap_ = nullptr;
};

Result<void> GlxGraphics::start(const Options& options) {
    library_ = dlopen("libGL.so.1", RTLD_LAZY | RTLD_LOCAL);
    // The window is of another connection: to the server it is the same.
    display_ = library_ != nullptr ? XOpenDisplay(nullptr) : nullptr;
    if (display_ == nullptr) {
        return fail(Fault::unsupported, "GLX needs libGL.so.1 and an X server");
    }
    swap_ = find<decltype(&glXSwapBuffers)>("glXSwapBuffers");
    XVisualInfo wanted{};
    wanted.visualid = window_.visual;
    int count = 0;
    const std::unique_ptr<XVisualInfo, decltype(&XFree)> visual(
        XGetVisualInfo(display_, VisualIDMask, &wanted, &count), XFree);
    if (!visual) {
        return fail(Fault::unsupported, "the window's visual is not known");
    }
    context_ = find<decltype(&glXCreateContext)>("glXCreateContext")(display_, visual.get(),
                                                                     nullptr, True);
    if (context_ == nullptr ||
        !find<decltype(&glXMakeCurrent)>("glXMakeCurrent")(display_, window_.window, context_)) {
        return fail(Fault::unsupported, "GLX can't draw in the window");
    }
    const auto look_up = find<decltype(&glXGetProcAddressARB)>("glXGetProcAddressARB");
    const auto set_interval = reinterpret_cast<int (*)(unsigned)>(
        look_up(reinterpret_cast<const GLubyte*>("glXSwapIntervalMESA")));
    if (set_interval != nullptr) {
        set_interval(static_cast<unsigned>(options.interval));
    }
    return {};
}

GlxGraphics::~GlxGraphics() {
    if (context_ != nullptr) {
        find<decltype(&glXMakeCurrent)>("glXMakeCurrent")(display_, 0, nullptr);
        find<decltype(&glXDestroyContext)>("glXDestroyContext")(display_, context_);
    }
    if (display_ != nullptr) {
        XCloseDisplay(display_);
    }
}

Result<void> GlxGraphics::resize(int /*width*/, int /*height*/) {
    return {};  // follows the window
}

Result<void> GlxGraphics::present(const frame_code::Pixels& pixels) {
    draw_pixels(pixels);
    swap_(display_, window_.window);
    return {};
}

template <typename Kind>
Result<std::unique_ptr<Graphics>> make(const Options& options, const NativeWindow& window) {
    auto graphics = std::make_unique<Kind>(window);
    if (auto started = graphics->start(options); !started) {
        return std::unexpected(started.error());
    }
    return graphics;
}

}  // namespace

Result<std::unique_ptr<Graphics>> create_egl(const Options& options, const NativeWindow& window) {
    return make<EglGraphics>(options, window);
}

Result<std::unique_ptr<Graphics>> create_glx(const Options& options, const NativeWindow& window) {
    if (window.x11 == nullptr) {
        return fail(Fault::unsupported, "--graphics glx needs --backend x11");
    }
    return make<GlxGraphics>(options, window);
}

}  // namespace stepscope::testgame
