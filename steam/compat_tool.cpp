// SPDX-License-Identifier: LGPL-2.1-or-later
#include "compat_tool.hpp"

#include <algorithm>
#include <filesystem>
#include <format>

#include "near_match.hpp"
#include "unicode.hpp"
#include "vdf.hpp"
#include "words.hpp"

namespace stepscope::steam {
namespace {

namespace fs = std::filesystem;

/** Proton needs a runtime, which needs nothing; more is a mistake. */
constexpr int kMaxTools = 4;

std::string ascii(const std::u32string& text) {
    std::string result;
    for (char32_t c : text) {
        result += c < 128 ? static_cast<char>(c) : '?';
    }
    return result;
}

/** Folder of a tool that a person has unpacked into compatibilitytools.d. */
std::string custom_tool(const std::string& root, const std::string& name) {
    std::error_code error;
    for (fs::directory_iterator entry(root + "/compatibilitytools.d", error), end;
         !error && entry != end; entry.increment(error)) {
        auto file = load_vdf_text(entry->path().string() + "/compatibilitytool.vdf");
        if (!file) {
            continue;
        }
        for (const VdfNode& tool :
             children_of(file->find({"compatibilitytools", "compat_tools"}))) {
            if (tool.key != name) {
                continue;
            }
            const fs::path path(tool.string("install_path"));
            return (path.is_absolute() ? path : entry->path() / path).lexically_normal().string();
        }
    }
    return {};
}

bool is_installed_tool(const SteamTitle& title) {
    return title.tool && fs::exists(title.install_path + "/toolmanifest.vdf");
}

/** How well the title of one of Valve's tools fits an internal name; 0: not at all. */
int fit(const std::string& title, const std::string& wanted, const std::string& codename) {
    if (wanted.starts_with("steamlinuxruntime")) {
        return title.starts_with("steamlinuxruntime") && title.ends_with(codename) ? 1 : 0;
    }
    if (title == wanted) {
        return 3;
    }
    // "proton_9" is "Proton 9.0 (Beta)"; "proton_5" is "Proton 5.0", not "Proton 5.13".
    return title.starts_with(wanted + "0") ? 2 : title.starts_with(wanted) ? 1 : 0;
}

/** "Proton 9.0-4" has 9.0; "Proton - Experimental" none. */
double version_of(const std::string& name) {
    const size_t digit = name.find_first_of("0123456789");
    return digit != std::string::npos ? std::atof(name.c_str() + digit) : 0;
}

std::string valve_tool(std::span<const SteamLibrary> libraries, const std::string& name) {
    const std::string wanted = ascii(comparable_name(name));
    const size_t underscore = name.rfind('_');
    const std::string codename =
        underscore != std::string::npos ? name.substr(underscore + 1) : "scout";
    const SteamTitle* best = nullptr;
    double best_fit = 0;
    for (const auto& library : libraries) {
        for (const auto& title : library.titles) {
            if (!is_installed_tool(title)) {
                continue;
            }
            const std::string its = ascii(comparable_name(title.name));
            const double fits = name.empty()
                                    ? (its.starts_with("proton") ? version_of(title.name) : 0)
                                    : fit(its, wanted, codename);
            if (fits > best_fit) {
                best = &title;
                best_fit = fits;
            }
        }
    }
    return best != nullptr ? best->install_path : std::string();
}

const SteamTitle* tool_with_id(std::span<const SteamLibrary> libraries, uint64_t app_id) {
    for (const auto& library : libraries) {
        for (const auto& title : library.titles) {
            if (title.app_id == app_id && is_installed_tool(title)) {
                return &title;
            }
        }
    }
    return nullptr;
}

}  // namespace

Result<std::string> find_compat_tool(std::span<const SteamLibrary> libraries,
                                     const std::string& name) {
    for (const auto& library : libraries) {
        if (name.empty()) {
            break;
        }
        if (std::string found = custom_tool(library.installation.root, name); !found.empty()) {
            return found;
        }
    }
    if (std::string found = valve_tool(libraries, name); !found.empty()) {
        return found;
    }
    return fail(Fault::not_found,
                std::format("the compatibility tool '{}' isn't installed; start the title once by "
                            "the Steam client, which installs it",
                            name.empty() ? "Proton" : printable(name)));
}

Result<std::vector<std::string>> compat_tool_words(std::span<const SteamLibrary> libraries,
                                                   const std::string& tool_directory) {
    std::vector<std::string> words;
    std::string directory = tool_directory;
    for (int depth = 0; depth < kMaxTools; ++depth) {
        auto file = load_vdf_text(directory + "/toolmanifest.vdf");
        if (!file) {
            return std::unexpected(file.error());
        }
        const VdfNode* manifest = file->find("manifest");
        std::string line(manifest != nullptr ? manifest->string("commandline") : "");
        constexpr std::string_view kVerb = "%verb%";
        if (const size_t verb = line.find(kVerb); verb != std::string::npos) {
            line.replace(verb, kVerb.size(), "waitforexitandrun");
        }
        auto own = split_words(line);
        if (!own || own->empty()) {
            return fail(Fault::protocol,
                        std::format("{}/toolmanifest.vdf: expected a commandline, got '{}'",
                                    directory, printable(line)));
        }
        // The first word is a path below the tool's folder, written with a leading slash.
        own->front() = directory + (own->front().starts_with('/') ? "" : "/") + own->front();
        words.insert(words.begin(), own->begin(), own->end());
        const uint64_t required = manifest->number("require_tool_appid").value_or(0);
        if (required == 0) {
            return words;
        }
        const SteamTitle* tool = tool_with_id(libraries, required);
        if (tool == nullptr) {
            return fail(Fault::not_found,
                        std::format("'{}' needs the tool with app id {}, which isn't installed; "
                                    "start the title once by the Steam client, which installs it",
                                    directory, required));
        }
        directory = tool->install_path;
    }
    return fail(Fault::protocol,
                std::format("the tools that '{}' needs go round in circles", tool_directory));
}

}  // namespace stepscope::steam
