// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <string>
#include <vector>

#include "fake_compositor.hpp"
#include "gst/gst_ptr.hpp"

namespace stepscope::test {

/** Lets GStreamer start, and gives the test a runtime directory of its own. */
class Environment {
public:
    Environment();
    ~Environment();
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

private:
    std::string directory_;
};

/** A pipeline that ends in a fakesink named "sink", whose buffers the test pulls one by one. */
class SourcePipeline {
public:
    /** `middle` goes between the source and the sink, e.g. "! video/x-raw,framerate=30/1". */
    explicit SourcePipeline(const std::string& properties = "", const std::string& middle = "");
    /** Any pipeline; its source must be named "src", and `kSink` be in it. */
    static SourcePipeline parse(const std::string& description);
    ~SourcePipeline();
    SourcePipeline(SourcePipeline&&) = default;

    GstStateChangeReturn set_state(GstState state);
    void play() { set_state(GST_STATE_PLAYING); }
    void stop() { set_state(GST_STATE_NULL); }

    /** The next buffer; null at the end of the stream or after some seconds. */
    GstPtr<GstBuffer> pull();
    /** True if there is no buffer for a moment. */
    bool is_silent();
    /** Caps of the buffer pulled last. */
    const std::string& caps() const { return caps_; }

    /** The next message of this type from the source; empty after some seconds. */
    GstPtr<GstMessage> wait_message(GstMessageType type, const char* structure = nullptr);
    /** Text of the next error; its domain and code as "domain:code " before it. */
    std::string wait_error();

    uint64_t stat(const char* name);
    GstElement* source() const { return source_.get(); }
    GstElement* pipeline() const { return pipeline_.get(); }

private:
    struct Parsed {};
    SourcePipeline(Parsed, const std::string& description);

    GstPtr<GstElement> pipeline_;
    GstPtr<GstElement> source_;
    GstPtr<GstElement> sink_;
    struct Arrived;
    std::shared_ptr<Arrived> arrived_;
    std::string caps_;
};

/** A sink that keeps nothing of what it was given. */
inline constexpr const char* kSink =
    "fakesink name=sink sync=false async=false enable-last-sample=false signal-handoffs=true";

/** Open file descriptors of this process. */
size_t open_fds();

/** The first byte of the buffer; -1 if it can't be mapped. */
int first_byte(GstBuffer* buffer);

}  // namespace stepscope::test
