// SPDX-License-Identifier: LGPL-2.1-or-later
// What a distribution's own pipewiresrc makes of our node: DMA-BUFs that the game itself made, with
// their fences, which it may keep while the stream gets others.
#include <gst/gst.h>

#include <algorithm>
#include <future>
#include <memory>

#include "capture_session.hpp"
#include "pipewire_daemon.hpp"
#include "requirement.hpp"
#include "tests/support/pipewire_consumer.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

constexpr const char* kSink = "appsink name=sink emit-signals=true sync=false max-buffers=1";
constexpr const char* kLinear = "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=XR24";
constexpr int kBuffers = 6;
/** What the game may have for the two newest pictures of a stream that was negotiated anew. */
constexpr int64_t kKeptNs = 2'000'000'000;

std::vector<std::string> game(std::vector<std::string> options) {
    for (const char* word : {"--buffers", "6", "--rate", "20", "--late", "30"}) {
        options.emplace_back(word);
    }
    return options;
}

void require_pipewiresrc() {
    gst_init(nullptr, nullptr);
    if (!GstPtr<GstObject>(GST_OBJECT_CAST(gst_element_factory_find("pipewiresrc")))) {
        missing("PipeWire's plugin for GStreamer is not installed");
    }
}

/** pipewiresrc, linked by hand. */
class Consumer {
public:
    explicit Consumer(const CaptureSession& session)
        // The element does not return from its way to PAUSED before it is linked.
        : linking_(std::async(std::launch::async,
                              [node = "stepscope." + session.name()] {
                                  return std::make_unique<PipewireLink>(node, "watcher");
                              })),
          pipeline_(std::string("pipewiresrc name=src client-name=watcher autoconnect=false ! ") +
                    kLinear + " ! " + kSink),
          link_(linking_.get()) {
        REQUIRE(link_->made());
    }

    GstPtr<GstBuffer> pull() {
        GstPtr<GstBuffer> buffer = pipeline_.pull();
        REQUIRE(buffer);
        REQUIRE(GST_BUFFER_PTS_IS_VALID(buffer.get()));
        return buffer;
    }
    /** The first one in the newest memory of the game: those before may be copies. */
    GstPtr<GstBuffer> pull_own(const CaptureSession& session) {
        for (int tries = 0; tries < 200; ++tries) {
            GstPtr<GstBuffer> buffer = pull();
            if (session.inodes().contains(inode_of(buffer.get()))) {
                return buffer;
            }
        }
        FAIL("no picture in the game's own memory");
        return nullptr;
    }
    /** Until the stream has all of the game's memory. Before, it is negotiated anew, and of what a
     * consumer has then two pictures alone are kept as they are; this one has three. */
    void settle(const CaptureSession& session) {
        int in_a_row = 0;
        for (int tries = 0; tries < 300 && in_a_row < 3 * kBuffers; ++tries) {
            in_a_row = session.inodes().contains(inode_of(pull().get())) ? in_a_row + 1 : 0;
        }
        REQUIRE(in_a_row == 3 * kBuffers);
    }
    GstPtr<GstCaps> caps() const { return pipeline_.caps(); }

private:
    std::future<std::unique_ptr<PipewireLink>> linking_;
    CapturePipeline pipeline_;
    std::unique_ptr<PipewireLink> link_;
};

void check_own_memory(const std::vector<std::string>& options) {
    require_pipewiresrc();
    const PipewireDaemon daemon;
    const CaptureSession session(game(options), {"--pipewire", "--audio", "off"});
    Consumer consumer(session);
    consumer.settle(session);
    std::set<ino_t> seen;
    int own = 0;
    uint32_t last = 0;
    GstClockTime time = 0;
    for (int frame = 0; frame < 60; ++frame) {
        const GstPtr<GstBuffer> buffer = consumer.pull();
        const ino_t inode = inode_of(buffer.get());
        own += session.inodes().contains(inode) ? 1 : 0;
        seen.insert(inode);
        // It was shown 30 ms before it was drawn, and nobody but the mapping waits for that.
        const auto check = check_mapped(buffer.get());
        CAPTURE(frame, own, check.number.value_or(0), last, check.wrong_samples);
        REQUIRE(check.intact());
        REQUIRE(*check.number > last);
        last = *check.number;
        REQUIRE(GST_BUFFER_PTS(buffer.get()) > time);
        time = GST_BUFFER_PTS(buffer.get());
    }
    CHECK(own >= 50);
    CHECK(seen.size() > 3);
    CHECK(session.all_in_use(monotonic_ns()));
}

size_t given_back(const CaptureSession& session, const std::set<ino_t>& inodes) {
    std::set<ino_t> back;
    for (const auto& line : session.report()) {
        if (line.at("event") == "given back") {
            back.insert(line.at("inode").get<ino_t>());
        }
    }
    return static_cast<size_t>(
        std::ranges::count_if(inodes, [&](ino_t inode) { return back.contains(inode); }));
}

void check_new_size(const std::vector<std::string>& options) {
    require_pipewiresrc();
    const PipewireDaemon daemon;
    std::vector<std::string> resizable = game(options);
    resizable.emplace_back("--resizable");
    const CaptureSession session(resizable, {"--pipewire", "--audio", "off"});
    const std::set<ino_t> before = session.inodes();
    Consumer consumer(session);
    std::vector<GstPtr<GstBuffer>> held;
    std::vector<uint32_t> numbers;
    held.push_back(consumer.pull_own(session));
    held.push_back(consumer.pull_own(session));
    for (const auto& buffer : held) {
        const auto check = check_mapped(buffer.get());
        REQUIRE(check.intact());
        numbers.push_back(*check.number);
    }
    // Another consumer asks for another size, and the game follows.
    const int64_t resized = monotonic_ns();
    const CapturePipeline other("wlscreencopysrc name=src session=" + session.name() +
                                " ! video/x-raw,width=480,height=272 ! fakesink name=sink");
    REQUIRE(session.wait_for([&](const auto&) { return session.inodes() != before; }));
    consumer.pull_own(session);
    int width = 0;
    gst_structure_get_int(gst_caps_get_structure(consumer.caps().get(), 0), "width", &width);
    CHECK(width == 480);
    auto unchanged = [&] {
        for (size_t i = 0; i < held.size(); ++i) {
            REQUIRE(before.contains(inode_of(held[i].get())));
            const auto check = check_mapped(held[i].get());
            REQUIRE(check.intact());
            REQUIRE(check.number == numbers[i]);
        }
    };
    // The game has gone on to other memory, so that nothing changes these, however long it takes.
    do {
        unchanged();
        REQUIRE(inode_of(consumer.pull().get()) != 0);
    } while (monotonic_ns() - resized < kKeptNs + 1'000'000'000);
    unchanged();
    held.clear();
    // None of the old memory is lost to the game, and the new is used.
    CHECK(session.wait_for([&](const auto&) { return given_back(session, before) == kBuffers; }));
    std::set<ino_t> unseen = session.inodes();
    for (int frame = 0; frame < 200 && !unseen.empty(); ++frame) {
        unseen.erase(inode_of(consumer.pull().get()));
    }
    CHECK(unseen.empty());
}

}  // namespace

TEST_CASE("Implicitly synced DMA-BUFs of the game reach pipewiresrc") {
    check_own_memory({"--memory", "udmabuf"});
}

TEST_CASE("Explicitly synced DMA-BUFs of the game reach pipewiresrc") {
    check_own_memory({"--memory", "dma-heap", "--explicit-sync"});
}

TEST_CASE("DMA-BUFs that pipewiresrc keeps outlive a change of size") {
    check_new_size({"--memory", "udmabuf"});
}
