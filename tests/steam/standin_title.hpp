// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace stepscope::test {

/** What the stand-in does with a title, from its settings file. */
class StandinTitle {
public:
    /** `folder`: where the client's own programs are. */
    StandinTitle(const nlohmann::json& settings, std::string folder, std::string app_id,
                 std::vector<std::string> arguments);

    /** In a process of its own: updates, compiles shaders, then becomes the title's reaper. */
    void launch() const;

private:
    void update() const;
    void compile_shaders() const;

    const nlohmann::json& settings_;
    std::string folder_;
    std::string app_id_;
    std::vector<std::string> arguments_;
};

}  // namespace stepscope::test
