// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_tags.hpp"

#include <filesystem>
#include <format>

namespace stepscope {

void register_launch_tags() {
    gst_tag_register_static(kAppIdTag, GST_TAG_FLAG_META, G_TYPE_UINT, "Steam app id",
                            "App id of the Steam title", nullptr);
    gst_tag_register_static(kBuildIdTag, GST_TAG_FLAG_META, G_TYPE_UINT64, "Steam build id",
                            "Build of the Steam title", nullptr);
}

GstPtr<GstTagList> make_launch_tags(const LaunchPlan& plan) {
    GstPtr<GstTagList> tags(gst_tag_list_new_empty());
    // Of the whole recording, not of its video alone.
    gst_tag_list_set_scope(tags.get(), GST_TAG_SCOPE_GLOBAL);
    if (!plan.title) {
        const std::string name =
            std::filesystem::path(plan.launch.words.front()).filename().string();
        gst_tag_list_add(tags.get(), GST_TAG_MERGE_REPLACE, GST_TAG_TITLE, name.c_str(), nullptr);
        return tags;
    }
    const steam::SteamTitle& title = plan.title->title;
    // Muxers leave out what they don't know; a description they do.
    const std::string description =
        title.manifest.build_id != 0
            ? std::format("Steam app {}, build {}", title.app_id, title.manifest.build_id)
            : std::format("Steam app {}", title.app_id);
    gst_tag_list_add(tags.get(), GST_TAG_MERGE_REPLACE, GST_TAG_TITLE,
                     title.name.empty() ? plan.label.c_str() : title.name.c_str(),
                     GST_TAG_DESCRIPTION, description.c_str(), kAppIdTag, title.app_id, nullptr);
    if (title.manifest.build_id != 0) {
        gst_tag_list_add(tags.get(), GST_TAG_MERGE_REPLACE, kBuildIdTag, title.manifest.build_id,
                         nullptr);
    }
    return tags;
}

}  // namespace stepscope
