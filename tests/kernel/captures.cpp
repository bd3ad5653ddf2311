// SPDX-License-Identifier: LGPL-2.1-or-later
// wlscreencopysrc display=: other compositors copy into DMA-BUFs of the element's.
#include <fcntl.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wayland-client.h>

#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <format>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "frame_code.hpp"
#include "gst/gst_ptr.hpp"
#include "requirement.hpp"
#include "tests/support/bus_error.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

namespace fs = std::filesystem;

/** In the emulated machine a compositor takes ten seconds to start and most of one for a picture.
 */
constexpr std::chrono::seconds kWatchdog{120};
constexpr unsigned kPictures = 3;
constexpr unsigned kMaxBuffers = 3;

bool is_in_path(const std::string& program) {
    const char* set = std::getenv("PATH");
    const std::string path = set != nullptr ? set : "";
    for (size_t at = 0; at < path.size();) {
        const size_t end = std::min(path.find(':', at), path.size());
        if (::access((path.substr(at, end - at) + "/" + program).c_str(), X_OK) == 0) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

/** A folder for one compositor; gone with this object. */
struct Folder {
    std::string path = "/tmp/stepscope-kernel-XXXXXX";

    Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

/** Another compositor on the display of virtio-gpu, which shows the test game. */
class Compositor {
public:
    Compositor(const std::string& kind, const std::string& renderer, const std::string& card) {
        const std::string game = STEPSCOPE_TESTGAME " --backend wayland --fullscreen --rate 5";
        std::vector<std::string> command;
        if (kind == "cage") {
            command = {"sh", "-c", "exec cage -- " + game};
        } else if (kind == "labwc") {
            command = {"labwc", "-C", folder_.path, "-s", game};
        } else {
            std::ofstream(folder_.path + "/config") << "default_border none\nexec " << game << '\n';
            command = {"sway", "-c", folder_.path + "/config"};
        }
        std::vector<char*> words;
        for (std::string& word : command) {
            words.push_back(word.data());
        }
        words.push_back(nullptr);
        const std::string log = folder_.path + "/log";
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            ::setsid();
            const int out = ::open(log.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
            ::dup2(out, STDOUT_FILENO);
            ::dup2(out, STDERR_FILENO);
            ::setenv("XDG_RUNTIME_DIR", folder_.path.c_str(), 1);
            ::setenv("XDG_CONFIG_HOME", folder_.path.c_str(), 1);
            ::setenv("LIBSEAT_BACKEND", "noop", 1);
            ::setenv("WLR_BACKENDS", "drm", 1);
            ::setenv("WLR_DRM_DEVICES", card.c_str(), 1);
            ::setenv("WLR_RENDERER", renderer.c_str(), 1);
            ::setenv("WLR_RENDERER_ALLOW_SOFTWARE", "1", 1);
            ::execvp(words[0], words.data());
            ::_exit(127);
        }
    }
    ~Compositor() {
        ::kill(child_, SIGTERM);
        ::waitpid(child_, nullptr, 0);
    }
    Compositor(const Compositor&) = delete;
    Compositor& operator=(const Compositor&) = delete;

    /** Until it answers; returns the path of its socket. */
    std::string wait_until_up() {
        const std::string path = wait_for_socket();
        struct Disconnect {
            void operator()(wl_display* display) const { wl_display_disconnect(display); }
        };
        const std::unique_ptr<wl_display, Disconnect> display(wl_display_connect(path.c_str()));
        if (!display || wl_display_roundtrip(display.get()) < 0) {
            FAIL("the compositor does not answer; it said: " << log());
        }
        return path;
    }

    std::string log() const {
        std::ifstream file(folder_.path + "/log");
        return {std::istreambuf_iterator<char>(file), {}};
    }

private:
    std::string wait_for_socket() {
        const auto deadline = std::chrono::steady_clock::now() + kWatchdog;
        while (std::chrono::steady_clock::now() < deadline) {
            for (const auto& entry : fs::directory_iterator(folder_.path)) {
                if (entry.is_socket() && entry.path().filename().string().starts_with("wayland-")) {
                    return entry.path();
                }
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        FAIL("no socket of a compositor; it said: " << log());
        return {};
    }

    Folder folder_;
    pid_t child_ = -1;
};

/** Which of the formats that compositors offer it is. */
frame_code::ChannelOrder order_of(const GstCaps* caps) {
    const std::string_view name =
        gst_structure_get_string(gst_caps_get_structure(caps, 0), "drm-format");
    REQUIRE((name == "XR24" || name == "XB24"));
    return name == "XR24" ? frame_code::kBgrx : frame_code::kRgbx;
}

/** What one buffer shows; nothing before the game is there. */
std::optional<uint32_t> number_in(GstBuffer* buffer, const frame_code::ChannelOrder& order) {
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
    REQUIRE(meta != nullptr);
    GstMapInfo map;
    REQUIRE(gst_buffer_map(buffer, &map, GST_MAP_READ));
    const frame_code::ConstPixels pixels{map.data + meta->offset[0], static_cast<int>(meta->width),
                                         static_cast<int>(meta->height),
                                         static_cast<size_t>(meta->stride[0])};
    const frame_code::FrameCheck check = frame_code::check_frame(pixels, order);
    gst_buffer_unmap(buffer, &map);
    if (check.number) {
        // All of the picture is there when it arrives: nothing was still being drawn.
        CHECK(check.intact());
    }
    return check.number;
}

}  // namespace

TEST_CASE("another compositor copies into DMA-BUFs") {
    // None of them has a GPU here: with both renderers the CPU draws.
    const auto [kind, renderer] = GENERATE(table<std::string, std::string>(
        {{"cage", "gles2"}, {"cage", "pixman"}, {"labwc", "gles2"}, {"sway", "gles2"}}));
    INFO(kind << " with " << renderer);
    const std::string card = primary_node("virtio_gpu");
    if (card.empty()) {
        missing("there is no display of virtio_gpu");
    }
    if (!is_in_path(kind)) {
        SKIP(kind + " is not installed");
    }
    gst_init(nullptr, nullptr);
    Compositor compositor(kind, renderer, card);
    const std::string display = compositor.wait_until_up();
    GError* error = nullptr;
    GstPtr<GstElement> pipeline(gst_parse_launch(
        std::format("wlscreencopysrc display={} max-buffers={} ! video/x-raw(memory:DMABuf) ! "
                    "appsink name=sink sync=false enable-last-sample=false",
                    display, kMaxBuffers)
            .c_str(),
        &error));
    REQUIRE(error == nullptr);
    GstPtr<GstElement> sink(gst_bin_get_by_name(GST_BIN(pipeline.get()), "sink"));
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    struct Stop {
        GstElement* pipeline;
        ~Stop() { gst_element_set_state(pipeline, GST_STATE_NULL); }
    } stop{pipeline.get()};

    std::set<ino_t> inodes;
    std::optional<uint32_t> last;
    const auto deadline = std::chrono::steady_clock::now() + kWatchdog;
    for (unsigned seen = 0; seen < kPictures;) {
        GstPtr<GstSample> sample(
            gst_app_sink_try_pull_sample(GST_APP_SINK(sink.get()), GST_SECOND));
        if (std::chrono::steady_clock::now() > deadline) {
            FAIL(seen << " pictures; " << bus_error(pipeline.get()) << "; " << compositor.log());
        }
        if (!sample) {
            continue;
        }
        GstBuffer* buffer = gst_sample_get_buffer(sample.get());
        GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
        REQUIRE(gst_is_dmabuf_memory(memory));
        struct stat status{};
        REQUIRE(::fstat(gst_dmabuf_memory_get_fd(memory), &status) == 0);
        inodes.insert(status.st_ino);
        const std::optional<uint32_t> number =
            number_in(buffer, order_of(gst_sample_get_caps(sample.get())));
        if (number) {
            CHECK((!last || *number > *last));
            last = number;
            ++seen;
        }
    }
    CHECK(inodes.size() <= kMaxBuffers);
}
