// SPDX-License-Identifier: LGPL-2.1-or-later
#include "source_pipeline.hpp"

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <format>
#include <stdexcept>

namespace stepscope::test {
namespace {

constexpr GstClockTime kWatchdog = 20 * GST_SECOND;
constexpr GstClockTime kMoment = 100 * GST_MSECOND;

}  // namespace

/** What the sink was given; kept by its callbacks too. */
struct SourcePipeline::Arrived {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::pair<GstPtr<GstBuffer>, std::string>> buffers;
    bool end_of_stream = false;

    static void handle_buffer(GstElement*, GstBuffer* buffer, GstPad* pad, gpointer data) {
        auto* self = static_cast<Arrived*>(data);
        GstPtr<GstCaps> caps(gst_pad_get_current_caps(pad));
        GstPtr<char> text(gst_caps_to_string(caps.get()));
        std::lock_guard lock(self->mutex);
        self->buffers.emplace_back(gst_buffer_ref(buffer), text.get());
        self->changed.notify_all();
    }

    static GstPadProbeReturn handle_event(GstPad*, GstPadProbeInfo* info, gpointer data) {
        if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS) {
            auto* self = static_cast<Arrived*>(data);
            std::lock_guard lock(self->mutex);
            self->end_of_stream = true;
            self->changed.notify_all();
        }
        return GST_PAD_PROBE_OK;
    }
};

Environment::Environment() {
    gst_init(nullptr, nullptr);
    std::string pattern = "/tmp/stepscope-check-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
        throw std::runtime_error("can't create a runtime directory");
    }
    directory_ = pattern;
    ::setenv("XDG_RUNTIME_DIR", directory_.c_str(), 1);
    ::unsetenv("STEPSCOPE_SESSION");
}

Environment::~Environment() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

SourcePipeline::SourcePipeline(const std::string& properties, const std::string& middle)
    : SourcePipeline(
          Parsed{}, std::format("wlscreencopysrc name=src {} {} ! {}", properties, middle, kSink)) {
}

SourcePipeline SourcePipeline::parse(const std::string& description) {
    return {Parsed{}, description};
}

SourcePipeline::SourcePipeline(Parsed, const std::string& description) {
    GError* error = nullptr;
    pipeline_.reset(gst_parse_launch(description.c_str(), &error));
    if (error != nullptr) {
        std::string text = error->message;
        g_error_free(error);
        throw std::runtime_error(text);
    }
    source_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "src"));
    sink_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "sink"));
    arrived_ = std::make_shared<Arrived>();
    g_signal_connect(sink_.get(), "handoff", G_CALLBACK(Arrived::handle_buffer), arrived_.get());
    GstPtr<GstPad> pad(gst_element_get_static_pad(sink_.get(), "sink"));
    gst_pad_add_probe(pad.get(), GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, Arrived::handle_event,
                      arrived_.get(), nullptr);
}

SourcePipeline::~SourcePipeline() {
    if (pipeline_) {
        stop();
    }
}

GstStateChangeReturn SourcePipeline::set_state(GstState state) {
    GstStateChangeReturn result = gst_element_set_state(pipeline_.get(), state);
    if (result == GST_STATE_CHANGE_ASYNC && state <= GST_STATE_READY) {
        result = gst_element_get_state(pipeline_.get(), nullptr, nullptr, kWatchdog);
    }
    return result;
}

GstPtr<GstBuffer> SourcePipeline::pull() {
    std::unique_lock lock(arrived_->mutex);
    arrived_->changed.wait_for(lock, std::chrono::nanoseconds(kWatchdog), [&] {
        return !arrived_->buffers.empty() || arrived_->end_of_stream;
    });
    if (arrived_->buffers.empty()) {
        return nullptr;
    }
    auto [buffer, caps] = std::move(arrived_->buffers.front());
    arrived_->buffers.pop_front();
    caps_ = caps;
    return std::move(buffer);
}

bool SourcePipeline::is_silent() {
    std::unique_lock lock(arrived_->mutex);
    return !arrived_->changed.wait_for(lock, std::chrono::nanoseconds(kMoment),
                                       [&] { return !arrived_->buffers.empty(); });
}

GstPtr<GstMessage> SourcePipeline::wait_message(GstMessageType type, const char* structure) {
    GstPtr<GstBus> bus(gst_element_get_bus(pipeline_.get()));
    for (;;) {
        GstPtr<GstMessage> message(gst_bus_timed_pop_filtered(bus.get(), kWatchdog, type));
        if (!message || structure == nullptr || gst_message_has_name(message.get(), structure)) {
            return message;
        }
    }
}

std::string SourcePipeline::wait_error() {
    GstPtr<GstMessage> message = wait_message(GST_MESSAGE_ERROR);
    if (!message) {
        return {};
    }
    GError* error = nullptr;
    gst_message_parse_error(message.get(), &error, nullptr);
    std::string text =
        std::format("{}:{} {}", g_quark_to_string(error->domain), error->code, error->message);
    g_error_free(error);
    return text;
}

uint64_t SourcePipeline::stat(const char* name) {
    GstStructure* stats = nullptr;
    g_object_get(source_.get(), "stats", &stats, nullptr);
    guint64 value = 0;
    if (!gst_structure_get_uint64(stats, name, &value)) {
        value = UINT64_MAX;
    }
    gst_structure_free(stats);
    return value;
}

size_t open_fds() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        static_cast<void>(entry);
        ++count;
    }
    return count;
}

int first_byte(GstBuffer* buffer) {
    GstMapInfo map;
    if (!gst_buffer_map(buffer, &map, GST_MAP_READ)) {
        return -1;
    }
    int byte = map.data[0];
    gst_buffer_unmap(buffer, &map);
    return byte;
}

}  // namespace stepscope::test
