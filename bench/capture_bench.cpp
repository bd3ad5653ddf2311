// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Runs a pipeline for some seconds and counts what arrives at its sink: frames, their order by
// the number that the test game shows, distinct memories, and the CPU time of this and other
// processes over the same window. Prints one JSON object.
#include <gst/gst.h>
#include <gst/video/video.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <format>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/processes.hpp"
#include "tests/game/frame_code.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

struct GstDeleter {
    void operator()(GstElement* element) const {
        gst_element_set_state(element, GST_STATE_NULL);
        gst_object_unref(element);
    }
    void operator()(GstBus* bus) const { gst_object_unref(bus); }
    void operator()(GstMessage* message) const { gst_message_unref(message); }
    void operator()(GstStructure* structure) const { gst_structure_free(structure); }
};
template <typename T>
using GstPtr = std::unique_ptr<T, GstDeleter>;

/** What has arrived; the probe writes, the main thread reads before and after the window. */
struct Counts {
    uint64_t frames = 0;
    uint64_t decoded = 0;       // frames whose number was read
    uint64_t unreadable = 0;    // looked at, no number found
    uint64_t distinct = 0;      // numbers that are not the previous one
    uint64_t lost = 0;          // numbers jumped over
    uint64_t order_errors = 0;  // numbers that went back
};

class Counter {
public:
    explicit Counter(unsigned decode_every) : decode_every_(decode_every) {}

    static GstPadProbeReturn probe(GstPad* pad, GstPadProbeInfo* info, gpointer data) {
        auto& self = *static_cast<Counter*>(data);
        if ((info->type & GST_PAD_PROBE_TYPE_BUFFER) != 0) {
            self.count(GST_PAD_PROBE_INFO_BUFFER(info));
        } else {
            GstEvent* event = GST_PAD_PROBE_INFO_EVENT(info);
            if (GST_EVENT_TYPE(event) == GST_EVENT_CAPS) {
                GstCaps* caps = nullptr;
                gst_event_parse_caps(event, &caps);
                const std::lock_guard lock(self.mutex_);
                self.has_info_ = gst_video_info_from_caps(&self.info_, caps) != FALSE;
            }
        }
        return GST_PAD_PROBE_OK;
    }

    Counts counts() {
        const std::lock_guard lock(mutex_);
        return counts_;
    }
    size_t memories() {
        const std::lock_guard lock(mutex_);
        return memories_.size();
    }

private:
    void count(GstBuffer* buffer) {
        const std::lock_guard lock(mutex_);
        ++counts_.frames;
        memories_.insert(gst_buffer_peek_memory(buffer, 0));
        if (decode_every_ != 0 && counts_.frames % decode_every_ == 0 && has_info_) {
            decode(buffer);
        }
    }

    void decode(GstBuffer* buffer) {
        GstVideoFrame frame;
        if (gst_video_frame_map(&frame, &info_, buffer, GST_MAP_READ) == FALSE) {
            ++counts_.unreadable;
            return;
        }
        const stepscope::frame_code::ConstPixels pixels = {
            static_cast<const uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(&frame, 0)),
            GST_VIDEO_FRAME_WIDTH(&frame), GST_VIDEO_FRAME_HEIGHT(&frame),
            static_cast<size_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0))};
        const auto number = stepscope::frame_code::read_frame_number(pixels);
        gst_video_frame_unmap(&frame);
        if (!number) {
            ++counts_.unreadable;
            return;
        }
        ++counts_.decoded;
        if (last_number_) {
            const uint64_t arrived = counts_.frames - last_index_;
            if (*number < *last_number_) {
                ++counts_.order_errors;
            } else {
                const uint64_t advanced = *number - *last_number_;
                counts_.distinct += std::min(advanced, arrived);
                counts_.lost += advanced > arrived ? advanced - arrived : 0;
            }
        }
        last_number_ = number;
        last_index_ = counts_.frames;
    }

    const unsigned decode_every_;
    std::mutex mutex_;
    Counts counts_;
    GstVideoInfo info_{};
    bool has_info_ = false;
    std::unordered_set<const GstMemory*> memories_;
    std::optional<uint32_t> last_number_;
    uint64_t last_index_ = 0;
};

/** User and system seconds of this process, all threads. */
double own_cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/** The same of another process; empty if it has gone. */
std::optional<double> cpu_seconds(int pid) {
    const std::string text = stepscope::read_proc_file(std::format("/proc/{}/stat", pid), 4096);
    const stepscope::ProcessStat stat(text);
    if (stat.state() == '\0') {
        return std::nullopt;
    }
    constexpr int kUserTime = 14;
    constexpr int kSystemTime = 15;
    return static_cast<double>(stat.field(kUserTime) + stat.field(kSystemTime)) /
           static_cast<double>(sysconf(_SC_CLK_TCK));
}

/** The element's `stats` as JSON, or null where it has none. */
json read_stats(GstElement* pipeline, const char* name) {
    GstElement* element = gst_bin_get_by_name(GST_BIN(pipeline), name);
    if (element == nullptr) {
        return nullptr;
    }
    json result = nullptr;
    if (g_object_class_find_property(G_OBJECT_GET_CLASS(element), "stats") != nullptr) {
        GstStructure* raw = nullptr;
        g_object_get(element, "stats", &raw, nullptr);
        const GstPtr<GstStructure> stats(raw);
        result = json::object();
        for (int i = 0; stats && i < gst_structure_n_fields(stats.get()); ++i) {
            const gchar* field = gst_structure_nth_field_name(stats.get(), static_cast<guint>(i));
            guint64 value = 0;
            if (gst_structure_get_uint64(stats.get(), field, &value) != FALSE) {
                result[field] = value;
            }
        }
    }
    gst_object_unref(element);
    return result;
}

/** Waits so long, or until the pipeline fails or ends, which is what is returned then. */
std::optional<std::string> wait_on_bus(GstBus* bus, double seconds) {
    const GstPtr<GstMessage> message(gst_bus_timed_pop_filtered(
        bus, static_cast<GstClockTime>(seconds * GST_SECOND),
        static_cast<GstMessageType>(GST_MESSAGE_ERROR | GST_MESSAGE_EOS)));
    if (!message) {
        return std::nullopt;
    }
    if (GST_MESSAGE_TYPE(message.get()) == GST_MESSAGE_EOS) {
        return "the stream ended before the time was over";
    }
    GError* error = nullptr;
    gchar* details = nullptr;
    gst_message_parse_error(message.get(), &error, &details);
    std::string text = error->message;
    if (details != nullptr) {
        text += std::string(" (") + details + ")";
    }
    g_error_free(error);
    g_free(details);
    return text;
}

constexpr double kFirstNumberSeconds = 20;

/** Waits until the game's first frame is through: programs start slowly on a busy machine. */
std::optional<std::string> wait_for_number(GstBus* bus, Counter& counter) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(kFirstNumberSeconds);
    while (counter.counts().decoded == 0) {
        if (auto ended = wait_on_bus(bus, 0.02)) {
            return ended;
        }
        if (Clock::now() > deadline) {
            const Counts counts = counter.counts();
            return "no frame of the test game arrived in " +
                   std::to_string(static_cast<int>(kFirstNumberSeconds)) + " s, but " +
                   std::to_string(counts.unreadable) + " others";
        }
    }
    return std::nullopt;
}

struct Options {
    std::string pipeline;
    double seconds = 3;
    double warmup = 0.5;
    unsigned decode_every = 1;
    std::map<std::string, int> processes;
};

using Times = std::map<std::string, std::optional<double>>;

Times cpu_times(const Options& options) {
    Times times;
    times["pipeline"] = own_cpu_seconds();
    for (const auto& [name, pid] : options.processes) {
        times[name] = cpu_seconds(pid);
    }
    return times;
}

json difference(const Times& before, const Times& after) {
    json cpu = json::object();
    for (const auto& [name, end] : after) {
        const auto& begin = before.at(name);
        cpu[name] = begin && end ? json(*end - *begin) : json(nullptr);
    }
    return cpu;
}

int fail(const std::string& message) {
    std::fprintf(stderr, "capture_bench: %s\n", message.c_str());
    return 1;
}

int run(const Options& options) {
    Counter counter(options.decode_every);  // outlives the pipeline, whose threads use it
    GError* error = nullptr;
    const GstPtr<GstElement> pipeline(gst_parse_launch(options.pipeline.c_str(), &error));
    if (error != nullptr || !pipeline || !GST_IS_BIN(pipeline.get())) {
        const std::string text = error != nullptr ? error->message : "not a pipeline";
        g_clear_error(&error);
        return fail("can't make the pipeline: " + text);
    }
    GstElement* sink = gst_bin_get_by_name(GST_BIN(pipeline.get()), "sink");
    GstPad* pad = sink != nullptr ? gst_element_get_static_pad(sink, "sink") : nullptr;
    if (pad == nullptr) {
        return fail("the pipeline has no element with name=sink that takes a stream");
    }
    gst_pad_add_probe(pad,
                      static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BUFFER |
                                                   GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM),
                      Counter::probe, &counter, nullptr);
    gst_object_unref(pad);
    gst_object_unref(sink);

    const GstPtr<GstBus> bus(gst_element_get_bus(pipeline.get()));
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    if (options.decode_every != 0) {
        if (auto ended = wait_for_number(bus.get(), counter)) {
            return fail(*ended);
        }
    }
    if (auto ended = wait_on_bus(bus.get(), options.warmup)) {
        return fail(*ended);
    }
    const Counts before = counter.counts();
    const Times cpu_before = cpu_times(options);
    const auto start = Clock::now();
    if (auto ended = wait_on_bus(bus.get(), options.seconds)) {
        return fail(*ended);
    }
    const Counts after = counter.counts();
    const Times cpu_after = cpu_times(options);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();

    const json result = {{"frames", after.frames - before.frames},
                         {"seconds", seconds},
                         {"cpu_seconds", difference(cpu_before, cpu_after)},
                         {"decoded", after.decoded - before.decoded},
                         {"unreadable", after.unreadable - before.unreadable},
                         {"distinct", after.distinct - before.distinct},
                         {"lost", after.lost - before.lost},
                         {"order_errors", after.order_errors},
                         {"memories", counter.memories()},
                         {"stats", read_stats(pipeline.get(), "src")}};
    std::printf("%s\n", result.dump().c_str());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    std::vector<std::string> processes;
    CLI::App app("Counts the frames that arrive at the element named sink.", "capture_bench");
    app.add_option("pipeline", options.pipeline,
                   "As for gst-launch-1.0, one argument; name=sink "
                   "where to count, name=src whose stats to read")
        ->required();
    app.add_option("--seconds", options.seconds, "How long to count")
        ->check(CLI::Range(0.01, 3600.0));
    app.add_option("--warmup", options.warmup, "How long to run before")
        ->check(CLI::Range(0.0, 60.0));
    app.add_option("--decode-every", options.decode_every,
                   "Read the number of each so many frames; 0: never");
    app.add_option("--pid", processes, "NAME=PID of a process whose CPU time to measure");
    try {
        app.parse(argc, argv);
        for (const std::string& process : processes) {
            const size_t separator = process.find('=');
            if (separator == std::string::npos) {
                throw CLI::ValidationError("--pid", "expected NAME=PID, got '" + process + "'");
            }
            options.processes[process.substr(0, separator)] =
                std::stoi(process.substr(separator + 1));
        }
        gst_init(nullptr, nullptr);
        return run(options);
    } catch (const CLI::ParseError& error) {
        return app.exit(error);
    } catch (const std::exception& error) {
        return fail(error.what());
    }
}
