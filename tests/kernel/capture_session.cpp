// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture_session.hpp"

#include <fcntl.h>
#include <gst/allocators/gstdmabuf.h>
#include <gst/stepscope/stepscope.h>
#include <gst/video/video.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

namespace stepscope::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kStartMs = 60'000;

std::string program(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        missing(std::string("the path of a program is not set: ") + variable);
    }
    return path;
}

std::string vgem_node() {
    for (const RenderNode& node : render_nodes()) {
        if (node.driver == "vgem") {
            return node.path;
        }
    }
    missing("there is no render node of vgem");
}

pid_t start(std::vector<std::string> words) {
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, arguments.front(), nullptr, nullptr, arguments.data(), environ);
    if (error != 0) {
        FAIL("can't start " << words.front());
    }
    return pid;
}

/** The compositor's line on --ready-fd. */
void wait_until_ready(int fd) {
    pollfd polled{fd, POLLIN, 0};
    char line[512];
    if (::poll(&polled, 1, kStartMs) != 1 || ::read(fd, line, sizeof(line)) <= 0) {
        FAIL("the session did not start");
    }
}

frame_code::ConstPixels pixels(const uint8_t* data, const GstVideoMeta& meta) {
    return {data + meta.offset[0], static_cast<int>(meta.width), static_cast<int>(meta.height),
            static_cast<size_t>(meta.stride[0])};
}

}  // namespace

CaptureSession::CaptureSession(const std::vector<std::string>& game) {
    const std::string node = vgem_node();
    gst_init(nullptr, nullptr);
    std::string pattern = "/tmp/stepscope-kernel-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    name_ = std::filesystem::path(directory_).filename();
    name_ = name_.substr(name_.size() - 6);
    int ends[2];
    REQUIRE(::pipe2(ends, 0) == 0);
    UniqueFd ready(ends[0]);
    UniqueFd ready_child(ends[1]);
    ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
    std::vector<std::string> words{program("STEPSCOPE"),
                                   "--renderer",
                                   "gles2",
                                   "--render-node",
                                   node,
                                   "--no-xwayland",
                                   "--session",
                                   name_,
                                   "-W",
                                   std::to_string(kWidth),
                                   "-H",
                                   std::to_string(kHeight),
                                   "-r",
                                   "0",
                                   "--ready-fd",
                                   std::to_string(ready_child.get()),
                                   "--",
                                   program("STEPSCOPE_FENCEGAME"),
                                   "--report",
                                   directory_ + "/report"};
    words.insert(words.end(), game.begin(), game.end());
    pid_ = start(std::move(words));
    ready_child.reset();
    wait_until_ready(ready.get());
    REQUIRE(wait_for([](const auto& lines) { return lines.size() > 5; }));
}

CaptureSession::~CaptureSession() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

std::vector<nlohmann::json> CaptureSession::report() const {
    std::vector<nlohmann::json> lines;
    std::ifstream file(directory_ + "/report");
    for (std::string line; std::getline(file, line) && !file.eof();) {
        lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
}

bool CaptureSession::wait_for(
    const std::function<bool(const std::vector<nlohmann::json>&)>& found) const {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!found(report())) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::sleep_for(50ms);
    }
    return true;
}

std::set<ino_t> CaptureSession::inodes() const {
    for (const nlohmann::json& line : report()) {
        if (line.at("event") == "buffers") {
            const auto& list = line.at("inodes");
            return {list.begin(), list.end()};
        }
    }
    return {};
}

CapturePipeline::CapturePipeline(const std::string& session, const std::string& caps,
                                 bool knows_fences) {
    const std::string text = "wlscreencopysrc name=src session=" + session + " ! " + caps +
                             " ! appsink name=sink emit-signals=true sync=false max-buffers=1";
    GError* error = nullptr;
    pipeline_.reset(gst_parse_launch(text.c_str(), &error));
    INFO((error != nullptr ? error->message : ""));
    REQUIRE(error == nullptr);
    source_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "src"));
    sink_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "sink"));
    if (knows_fences) {
        g_signal_connect(sink_.get(), "propose-allocation",
                         G_CALLBACK(+[](GstElement*, GstQuery* query, gpointer) -> gboolean {
                             gst_query_add_allocation_meta(query, GST_STEPSCOPE_FENCE_META_API_TYPE,
                                                           nullptr);
                             return TRUE;
                         }),
                         nullptr);
    }
    gst_element_set_state(pipeline_.get(), GST_STATE_PLAYING);
}

void CapturePipeline::stop() {
    gst_element_set_state(pipeline_.get(), GST_STATE_NULL);
}

GstPtr<GstBuffer> CapturePipeline::pull() {
    GstSample* sample = nullptr;
    g_signal_emit_by_name(sink_.get(), "try-pull-sample", 60 * GST_SECOND, &sample);
    if (sample == nullptr) {
        UNSCOPED_INFO(error());
        return nullptr;
    }
    GstPtr<GstBuffer> buffer(gst_buffer_ref(gst_sample_get_buffer(sample)));
    gst_sample_unref(sample);
    return buffer;
}

std::string CapturePipeline::error() const {
    const GstPtr<GstBus> bus(gst_element_get_bus(pipeline_.get()));
    const GstPtr<GstMessage> message(gst_bus_pop_filtered(bus.get(), GST_MESSAGE_ERROR));
    if (!message) {
        return "no error";
    }
    GError* error = nullptr;
    gst_message_parse_error(message.get(), &error, nullptr);
    std::string text = error->message;
    g_error_free(error);
    return text;
}

uint64_t CapturePipeline::stat(const char* name) const {
    GstStructure* raw = nullptr;
    g_object_get(source_.get(), "stats", &raw, nullptr);
    const GstPtr<GstStructure> stats(raw);
    guint64 value = 0;
    REQUIRE(gst_structure_get_uint64(stats.get(), name, &value));
    return value;
}

frame_code::FrameCheck check_mapped(GstBuffer* buffer) {
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
    REQUIRE(meta != nullptr);
    GstMapInfo map;
    REQUIRE(gst_buffer_map(buffer, &map, GST_MAP_READ));
    const auto check = frame_code::check_frame(pixels(map.data, *meta));
    gst_buffer_unmap(buffer, &map);
    return check;
}

frame_code::FrameCheck check_raw(GstBuffer* buffer) {
    const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    REQUIRE(meta != nullptr);
    REQUIRE(gst_is_dmabuf_memory(memory));
    const size_t size = meta->offset[0] + static_cast<size_t>(meta->stride[0]) * meta->height;
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, gst_dmabuf_memory_get_fd(memory), 0);
    REQUIRE(data != MAP_FAILED);
    const auto check = frame_code::check_frame(pixels(static_cast<const uint8_t*>(data), *meta));
    ::munmap(data, size);
    return check;
}

ino_t inode_of(GstBuffer* buffer) {
    struct stat status{};
    REQUIRE(::fstat(gst_dmabuf_memory_get_fd(gst_buffer_peek_memory(buffer, 0)), &status) == 0);
    return status.st_ino;
}

}  // namespace stepscope::testing
