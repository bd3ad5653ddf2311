// SPDX-License-Identifier: LGPL-2.1-or-later
// A consumer that reads with another device than the one that the pictures are on.
#include <gst/gst.h>

#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "capture_session.hpp"
#include "requirement.hpp"
#include "tests/support/drm_devices.hpp"

using namespace stepscope;
using namespace stepscope::testing;
using Catch::Matchers::ContainsSubstring;

namespace {

/** What the consumer says of itself. */
struct Answer {
    std::string type;
    std::string path;
};

GstPadProbeReturn answer_context(GstPad*, GstPadProbeInfo* info, gpointer data) {
    const auto& answer = *static_cast<const Answer*>(data);
    GstQuery* query = GST_PAD_PROBE_INFO_QUERY(info);
    const char* type = nullptr;
    if (GST_QUERY_TYPE(query) != GST_QUERY_CONTEXT || !gst_query_parse_context_type(query, &type) ||
        answer.type != type) {
        return GST_PAD_PROBE_OK;
    }
    GstContext* context = gst_context_new(type, TRUE);
    gst_structure_set(gst_context_writable_structure(context), "path", G_TYPE_STRING,
                      answer.path.c_str(), nullptr);
    gst_query_set_context(query, context);
    gst_context_unref(context);
    return GST_PAD_PROBE_HANDLED;
}

/** A consumer of DMA-BUFs that answers. */
class Pipeline {
public:
    Pipeline(const std::string& session, Answer answer) : answer_(std::move(answer)) {
        GError* error = nullptr;
        pipeline_.reset(gst_parse_launch(("wlscreencopysrc session=" + session +
                                          " ! video/x-raw(memory:DMABuf) ! appsink name=sink "
                                          "sync=false max-buffers=1 drop=true")
                                             .c_str(),
                                         &error));
        REQUIRE(error == nullptr);
        GstPtr<GstElement> sink(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "sink"));
        GstPtr<GstPad> pad(gst_element_get_static_pad(sink.get(), "sink"));
        gst_pad_add_probe(pad.get(), GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_context, &answer_,
                          nullptr);
        gst_element_set_state(pipeline_.get(), GST_STATE_PLAYING);
    }
    Pipeline(const Pipeline&) = delete;
    Pipeline& operator=(const Pipeline&) = delete;
    ~Pipeline() { gst_element_set_state(pipeline_.get(), GST_STATE_NULL); }

    GstPtr<GstMessage> next(GstMessageType types, GstClockTime limit) {
        const GstPtr<GstBus> bus(gst_element_get_bus(pipeline_.get()));
        return GstPtr<GstMessage>(gst_bus_timed_pop_filtered(bus.get(), limit, types));
    }
    /** The facts of the first path. */
    GstPtr<GstMessage> path() {
        while (GstPtr<GstMessage> message =
                   next(static_cast<GstMessageType>(GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR),
                        60 * GST_SECOND)) {
            if (gst_message_has_name(message.get(), "stepscope-path")) {
                return message;
            }
        }
        return nullptr;
    }

private:
    Answer answer_;
    GstPtr<GstElement> pipeline_;
};

std::string warning_in(GstMessage* message) {
    GError* error = nullptr;
    gst_message_parse_warning(message, &error, nullptr);
    std::string text = error->message;
    g_error_free(error);
    return text;
}

std::string render_node(const std::string& driver) {
    for (const RenderNode& node : render_nodes()) {
        if (node.driver == driver) {
            return node.path;
        }
    }
    missing("there is no render node of " + driver);
}

}  // namespace

TEST_CASE("the consumer's device is named") {
    const std::string own = render_node("vgem");
    const std::string other = render_node("virtio_gpu");
    const CaptureSession session({"--memory", "udmabuf"});
    const char* type = GENERATE("stepscope.drm-device", "gst.va.display.handle");
    SECTION("with a warning if it is another") {
        Pipeline pipeline(session.name(), {type, other});
        GstPtr<GstMessage> message = pipeline.path();
        REQUIRE(message);
        const GstStructure* facts = gst_message_get_structure(message.get());
        CHECK(gst_structure_get_string(facts, "device") == own);
        CHECK(gst_structure_get_string(facts, "consumer-device") == other);
        CHECK(gst_structure_get_string(facts, "path") == std::string("passed-through"));
        GstPtr<GstMessage> warning = pipeline.next(GST_MESSAGE_WARNING, 10 * GST_SECOND);
        REQUIRE(warning);
        CHECK_THAT(warning_in(warning.get()),
                   ContainsSubstring("are on " + own) && ContainsSubstring("with " + other));
    }
    SECTION("without one if it is another node of the same") {
        const std::string node = primary_node("vgem");
        REQUIRE(!node.empty());
        Pipeline pipeline(session.name(), {type, node});
        GstPtr<GstMessage> message = pipeline.path();
        REQUIRE(message);
        CHECK(gst_structure_get_string(gst_message_get_structure(message.get()),
                                       "consumer-device") == node);
        CHECK_FALSE(pipeline.next(GST_MESSAGE_WARNING, GST_SECOND));
    }
    SECTION("unless it does not tell") {
        Pipeline pipeline(session.name(), {"something.else", other});
        GstPtr<GstMessage> message = pipeline.path();
        REQUIRE(message);
        CHECK(gst_structure_get_string(gst_message_get_structure(message.get()),
                                       "consumer-device") == std::string());
        CHECK_FALSE(pipeline.next(GST_MESSAGE_WARNING, GST_SECOND));
    }
}
