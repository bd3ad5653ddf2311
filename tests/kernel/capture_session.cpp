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
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/session_registry.hpp"
#include "base/unique_fd.hpp"
#include "requirement.hpp"
#include "tests/support/bus_error.hpp"
#include "tests/support/drm_devices.hpp"

namespace stepscope::testing {
namespace {

using namespace std::chrono_literals;

constexpr int kStartMs = 180'000;

/** Of a sanitized program that a sanitizer has ended (tests/programs.py). */
constexpr int kSanitizerStatus = 99;

pid_t start(std::vector<std::string> words, const std::string& log) {
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    if (!log.empty()) {
        ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(),
                                           O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, arguments.front(), &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
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

/** Where the rows of the picture are. GStreamer 1.28 loses the meta between processes; the game's
 * rows are as caps alone say them. */
struct Rows {
    size_t offset = 0;
    size_t stride = size_t{kWidth} * 4;
    int width = kWidth;

    explicit Rows(GstBuffer* buffer) {
        if (const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer)) {
            offset = meta->offset[0];
            stride = static_cast<size_t>(meta->stride[0]);
            width = static_cast<int>(meta->width);
        }
    }
    size_t size() const { return offset + stride * kHeight; }
    frame_code::ConstPixels pixels(const uint8_t* data) const {
        return {data + offset, width, kHeight, stride};
    }
};

}  // namespace

int64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

unsigned amount(const char* variable, unsigned usual) {
    const char* wanted = std::getenv(variable);
    return wanted != nullptr ? static_cast<unsigned>(std::stoul(wanted)) : usual;
}

std::string session_node() {
    if (const char* wanted = std::getenv("STEPSCOPE_TEST_RENDER_NODE")) {
        return wanted;
    }
    const std::vector<RenderNode> nodes = render_nodes();
    const auto vgem = std::ranges::find(nodes, "vgem", &RenderNode::driver);
    if (vgem == nodes.end()) {
        missing("there is no render node of vgem; modprobe vgem makes one");
    }
    return vgem->path;
}

SessionProcess::SessionProcess(const std::vector<std::string>& options,
                               const std::vector<std::string>& game, bool log) {
    gst_init(nullptr, nullptr);
    std::string pattern = "/tmp/stepscope-kernel-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    name_ = std::filesystem::path(directory_).filename();
    name_ = name_.substr(name_.size() - 6);
    int ends[2];
    REQUIRE(::pipe2(ends, 0) == 0);
    const UniqueFd ready(ends[0]);
    UniqueFd ready_child(ends[1]);
    ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
    std::vector<std::string> words{program("STEPSCOPE"),
                                   "--no-xwayland",
                                   "--session",
                                   name_,
                                   "-H",
                                   std::to_string(kHeight),
                                   "--ready-fd",
                                   std::to_string(ready_child.get())};
    if (!std::ranges::contains(options, "-W")) {
        words.insert(words.end(), {"-W", std::to_string(kWidth)});
    }
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    for (const std::string& word : game) {
        words.push_back(word.starts_with("%D") ? directory_ + word.substr(2) : word);
    }
    pid_ = start(std::move(words), log ? directory_ + "/log" : "");
    ready_child.reset();
    wait_until_ready(ready.get());
}

SessionProcess::~SessionProcess() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == kSanitizerStatus));
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

std::string SessionProcess::log() const {
    std::ifstream file(directory_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string SessionProcess::game_display() const {
    const std::string runtime = must(find_session(name_)).directory + "/runtime";
    for (const auto& entry : std::filesystem::directory_iterator(runtime)) {
        if (entry.is_socket() && entry.path().filename().string().starts_with("wayland-")) {
            return entry.path();
        }
    }
    FAIL("the session has no game display in " << runtime);
    return {};
}

namespace {

std::vector<std::string> fence_game(const std::vector<std::string>& options) {
    std::vector<std::string> words{program("STEPSCOPE_FENCEGAME"), "--report", "%D/report"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

}  // namespace

namespace {

std::vector<std::string> gles2_with(const std::vector<std::string>& options) {
    std::vector<std::string> all{"--renderer", "gles2", "--render-node", session_node(), "-r", "0"};
    all.insert(all.end(), options.begin(), options.end());
    return all;
}

}  // namespace

CaptureSession::CaptureSession(const std::vector<std::string>& game,
                               const std::vector<std::string>& options)
    : process_(gles2_with(options), fence_game(game)) {
    REQUIRE(wait_for([](const auto& lines) { return lines.size() > 2; }));
    REQUIRE(all_in_use(0));
}

// Only what came since the last time is read: it is long.
const std::vector<nlohmann::json>& CaptureSession::report() const {
    std::ifstream file(directory() + "/report");
    file.seekg(report_read_);
    for (std::string line; std::getline(file, line) && !file.eof();) {
        report_read_ = file.tellg();
        report_.push_back(nlohmann::json::parse(line));
    }
    return report_;
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
    std::set<ino_t> newest;
    for (const nlohmann::json& line : report()) {
        if (line.at("event") == "buffers") {
            const auto& list = line.at("inodes");
            newest = {list.begin(), list.end()};
        }
    }
    return newest;
}

bool CaptureSession::all_in_use(int64_t since, ino_t without) const {
    const std::set<ino_t> all = inodes();
    size_t next = 0;
    std::set<ino_t> missing_ones = all;
    missing_ones.erase(without);
    return wait_for([&](const auto& lines) {
        for (; next < lines.size(); ++next) {
            const nlohmann::json& line = lines[next];
            if (line.at("event") == "shown" && line.at("time_ns").template get<int64_t>() > since) {
                missing_ones.erase(line.at("inode").template get<ino_t>());
            }
        }
        return missing_ones.empty();
    });
}

size_t taken_back_early(const CaptureSession& session, const std::vector<Holding>& holdings) {
    std::map<ino_t, std::vector<int64_t>> times;
    for (const nlohmann::json& line : session.report()) {
        if (line.at("event") == "shown" || line.at("event") == "released") {
            times[line.at("inode").get<ino_t>()].push_back(line.at("time_ns").get<int64_t>());
        }
    }
    return static_cast<size_t>(std::ranges::count_if(holdings, [&](const Holding& held) {
        const std::vector<int64_t>& of_buffer = times[held.inode];
        auto first = std::ranges::upper_bound(of_buffer, held.from);
        return first != of_buffer.end() && *first < held.to;
    }));
}

void CapturePipeline::parse(const std::string& text) {
    GError* error = nullptr;
    pipeline_.reset(gst_parse_launch(text.c_str(), &error));
    INFO((error != nullptr ? error->message : ""));
    REQUIRE(error == nullptr);
    source_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "src"));
    sink_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "sink"));
}

CapturePipeline::CapturePipeline(const std::string& text) {
    parse(text);
    gst_element_set_state(pipeline_.get(), GST_STATE_PLAYING);
}

CapturePipeline::CapturePipeline(const std::string& session, const std::string& middle,
                                 bool knows_fences, const std::string& properties) {
    parse("wlscreencopysrc name=src session=" + session + " " + properties + " ! " + middle +
          " ! appsink name=sink emit-signals=true sync=false max-buffers=1");
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

GstPtr<GstCaps> CapturePipeline::caps() const {
    const GstPtr<GstPad> pad(gst_element_get_static_pad(sink_.get(), "sink"));
    return GstPtr<GstCaps>(gst_pad_get_current_caps(pad.get()));
}

GstPtr<GstBuffer> CapturePipeline::pull(const char* sink) {
    const GstPtr<GstElement> from(gst_bin_get_by_name(GST_BIN(pipeline_.get()), sink));
    GstSample* sample = nullptr;
    g_signal_emit_by_name(from.get(), "try-pull-sample", 60 * GST_SECOND, &sample);
    if (sample == nullptr) {
        UNSCOPED_INFO(error());
        return nullptr;
    }
    GstPtr<GstBuffer> buffer(gst_buffer_ref(gst_sample_get_buffer(sample)));
    gst_sample_unref(sample);
    return buffer;
}

std::string CapturePipeline::error() const {
    return bus_error(pipeline_.get());
}

uint64_t CapturePipeline::stat(const char* name) const {
    GstStructure* raw = nullptr;
    g_object_get(source_.get(), "stats", &raw, nullptr);
    const GstPtr<GstStructure> stats(raw);
    guint64 value = 0;
    REQUIRE(gst_structure_get_uint64(stats.get(), name, &value));
    return value;
}

frame_code::FrameCheck check_mapped(GstBuffer* buffer, frame_code::ChannelOrder order) {
    const Rows rows(buffer);
    GstMapInfo map;
    REQUIRE(gst_buffer_map(buffer, &map, GST_MAP_READ));
    REQUIRE(map.size >= rows.size());
    const auto check = frame_code::check_frame(rows.pixels(map.data), order);
    gst_buffer_unmap(buffer, &map);
    return check;
}

frame_code::FrameCheck check_raw(GstBuffer* buffer) {
    const Rows rows(buffer);
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    REQUIRE(gst_is_dmabuf_memory(memory));
    void* data =
        ::mmap(nullptr, rows.size(), PROT_READ, MAP_SHARED, gst_dmabuf_memory_get_fd(memory), 0);
    REQUIRE(data != MAP_FAILED);
    const auto check = frame_code::check_frame(rows.pixels(static_cast<const uint8_t*>(data)));
    ::munmap(data, rows.size());
    return check;
}

ino_t inode_of(GstBuffer* buffer) {
    struct stat status{};
    REQUIRE(::fstat(gst_dmabuf_memory_get_fd(gst_buffer_peek_memory(buffer, 0)), &status) == 0);
    return status.st_ino;
}

}  // namespace stepscope::testing
