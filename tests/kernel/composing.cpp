// SPDX-License-Identifier: LGPL-2.1-or-later
// Renderers that draw with the CPU make pictures in DMA-BUFs: of several windows, and of a game's
// picture in another format. Vulkan under the validation layers, which have nothing to say.
#include <gst/stepscope/stepscope.h>
#include <stdlib.h>

#include <filesystem>
#include <sstream>

#include "capture_session.hpp"
#include "requirement.hpp"

using namespace stepscope;
using namespace stepscope::testing;

namespace {

constexpr const char* kLayer = "/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json";
constexpr const char* kOtherFormat =
    "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format={XB24,XB24:0x0}";

/** Variables of what is started meanwhile. */
class Environment {
public:
    explicit Environment(std::vector<std::pair<const char*, const char*>> variables)
        : variables_(std::move(variables)) {
        for (const auto& [name, value] : variables_) {
            ::setenv(name, value, 1);
        }
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() {
        for (const auto& [name, value] : variables_) {
            ::unsetenv(name);
        }
    }

private:
    std::vector<std::pair<const char*, const char*>> variables_;
};

/** The game with a menu over it: drawn, in memory that is not the game's. */
void check_windows(const SessionProcess& session) {
    CapturePipeline pipeline(session.name(), kDmabuf, false);
    uint32_t last = 0;
    int composed = 0;
    for (int frame = 0; frame < 300 && composed < 10; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        const auto* meta = gst_buffer_get_stepscope_frame_meta(buffer.get());
        if (meta->path != GST_STEPSCOPE_FRAME_PATH_COMPOSED ||
            meta->reason != GST_STEPSCOPE_FRAME_REASON_WINDOWS) {
            continue;
        }
        const auto check = check_mapped(buffer.get());
        // The menu hides some of the game.
        REQUIRE(check.number);
        CHECK(*check.number > last);
        CHECK(check.wrong_samples > 0);
        CHECK(check.wrong_samples < check.samples);
        last = *check.number;
        ++composed;
    }
    CHECK(composed == 10);
}

/** The whole picture with red and blue swapped, for a consumer that reads only that. */
void check_other_format(const SessionProcess& session) {
    CapturePipeline pipeline(session.name(), kOtherFormat, false);
    uint32_t last = 0;
    int drawn = 0;
    for (int frame = 0; frame < 300 && drawn < 10; ++frame) {
        const GstPtr<GstBuffer> buffer = pipeline.pull();
        REQUIRE(buffer);
        const auto* meta = gst_buffer_get_stepscope_frame_meta(buffer.get());
        if (meta->path != GST_STEPSCOPE_FRAME_PATH_COPIED) {
            continue;  // there is no game yet
        }
        const auto check = check_mapped(buffer.get(), frame_code::kRgbx);
        REQUIRE(check.intact());
        CHECK(*check.number > last);
        last = *check.number;
        ++drawn;
    }
    CHECK(drawn == 10);
}

std::vector<std::string> game(const std::vector<std::string>& options) {
    std::vector<std::string> words{
        program("STEPSCOPE_TESTGAME"), "--backend", "wayland", "--rate", "30", "--size", "320x240"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

size_t lines_with(const std::string& text, const std::string& word) {
    std::istringstream stream(text);
    size_t count = 0;
    for (std::string line; std::getline(stream, line);) {
        count += line.contains(word) ? 1 : 0;
    }
    return count;
}

}  // namespace

TEST_CASE("llvmpipe composes") {
    const std::vector<std::string> renderer{"--renderer", "gles2", "--render-node", session_node()};
    check_windows(SessionProcess(renderer, game({"--popup"})));
    check_other_format(SessionProcess(renderer, game({})));
}

TEST_CASE("llvmpipe composes what a game draws late, and finishes") {
    // At each beat the game has shown a picture that it has not drawn yet.
    const SessionProcess session(
        {"--renderer", "gles2", "--render-node", session_node(), "-r", "30"},
        {program("STEPSCOPE_FENCEGAME"), "--buffers", "6", "--rate", "30", "--late", "30"});
    check_other_format(session);
}

TEST_CASE("lavapipe composes, and the validation layers are silent") {
    session_node();  // elsewhere than in the VM this test is not for
    if (!std::filesystem::exists(kLayer)) {
        SKIP("the Vulkan validation layers are not installed (Debian: vulkan-validationlayers)");
    }
    const Environment environment({{"VK_LOADER_LAYERS_ENABLE", "*khronos_validation*"},
                                   {"VK_LOADER_DEBUG", "layer"},
                                   {"VK_KHRONOS_VALIDATION_VALIDATE_BEST_PRACTICES", "true"}});
    const std::vector<std::string> renderer{"--renderer", "vulkan", "--render-node", "software"};
    for (const bool windows : {true, false}) {
        std::string log;
        {
            const SessionProcess session(renderer, game({windows ? "--popup" : "--argb"}), true);
            windows ? check_windows(session) : check_other_format(session);
            log = session.log();
        }
        INFO(log);
        // It was there, and its voice was heard: it always has advice on good practice.
        CHECK(lines_with(log, "Inserted device layer \"VK_LAYER_KHRONOS_validation\"") > 0);
        CHECK(lines_with(log, "BestPractices-") > 0);
        CHECK(lines_with(log, "VUID-") == 0);
        WARN(lines_with(log, "BestPractices-")
             << " pieces of advice, " << lines_with(log, "VUID-") << " errors");
    }
}
