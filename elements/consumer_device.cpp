// SPDX-License-Identifier: LGPL-2.1-or-later
#include "consumer_device.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <format>
#include <optional>

#include "gst/gst_ptr.hpp"

namespace stepscope {
namespace {

/** GST_VA_DISPLAY_HANDLE_CONTEXT_TYPE_STR; for a string the library is not worth linking. */
constexpr const char* kVaContext = "gst.va.display.handle";

std::string ask(GstPad* pad, const char* type) {
    const GstPtr<GstQuery> query(gst_query_new_context(type));
    GstContext* context = nullptr;
    if (!gst_pad_peer_query(pad, query.get())) {
        return {};
    }
    gst_query_parse_context(query.get(), &context);
    if (context == nullptr) {
        return {};
    }
    const char* path = gst_structure_get_string(gst_context_get_structure(context), "path");
    return path != nullptr ? path : "";
}

/** The device of a node, of which there can be several. */
std::optional<std::filesystem::path> device_of(const std::string& node) {
    struct stat status{};
    if (::stat(node.c_str(), &status) < 0 || !S_ISCHR(status.st_mode)) {
        return std::nullopt;
    }
    std::error_code failed;
    const auto path = std::filesystem::canonical(
        std::format("/sys/dev/char/{}:{}/device", major(status.st_rdev), minor(status.st_rdev)),
        failed);
    return failed ? std::nullopt : std::optional(path);
}

}  // namespace

std::string consumer_device(GstPad* pad) {
    for (const char* type : {kDrmDeviceContext, kVaContext}) {
        if (std::string path = ask(pad, type); !path.empty()) {
            return path;
        }
    }
    return {};
}

bool is_same_device(const std::string& one, const std::string& other) {
    if (one == other) {
        return true;
    }
    const auto first = device_of(one);
    const auto second = device_of(other);
    return !first || !second || *first == *second;
}

}  // namespace stepscope
