// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_counts.hpp"

#include <string>

namespace stepscope {
namespace {

/** Between two times that others are told. */
constexpr int64_t kPeriodNs = 1'000'000'000;

}  // namespace

void PipewireCounts::add(FramePath path) {
    switch (path) {
        case STEPSCOPE_CAPTURE_V1_PATH_PASSED_THROUGH:
            ++counts_[0];
            return;
        case STEPSCOPE_CAPTURE_V1_PATH_COMPOSED:
            ++counts_[1];
            return;
        case STEPSCOPE_CAPTURE_V1_PATH_COPIED:
            ++counts_[2];
            return;
    }
}

void PipewireCounts::tell(pw_stream* stream, int64_t now_ns, bool last) {
    if (stream == nullptr || (!last && now_ns - told_ns_ < kPeriodNs)) {
        return;
    }
    told_ns_ = now_ns;
    static constexpr std::array<const char*, kPaths> kKeys{
        "stepscope.passed-through", "stepscope.composed", "stepscope.copied"};
    std::array<std::string, kPaths> values;
    std::array<spa_dict_item, kPaths> items{};
    for (size_t i = 0; i < kPaths; ++i) {
        values[i] = std::to_string(counts_[i]);
        items[i] = {kKeys[i], values[i].c_str()};
    }
    const spa_dict dict{.flags = 0, .n_items = kPaths, .items = items.data()};
    pw_stream_update_properties(stream, &dict);
}

}  // namespace stepscope
