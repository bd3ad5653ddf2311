// SPDX-License-Identifier: LGPL-2.1-or-later
#include "app_info.hpp"

#include <algorithm>
#include <format>

#include "bounded_file.hpp"
#include "vdf.hpp"

namespace stepscope::steam {
namespace {

constexpr uint32_t kOldestMagic = 0x07564427;
constexpr uint32_t kWithBinaryHash = 0x07564428;
constexpr uint32_t kWithKeyTable = 0x07564429;
/** Steam has some ten thousand. */
constexpr uint64_t kMaxKeys = uint64_t{1} << 20;
constexpr size_t kMaxFile = size_t{512} << 20;

/** Of what comes before a section's entries: state, time, token, SHA-1, change number. */
constexpr size_t kSectionHead = 4 + 4 + 8 + 20 + 4;
constexpr size_t kBinaryHash = 20;

/** Reads little-endian numbers; nothing beyond the end. */
class Reader {
public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}

    std::optional<uint64_t> number(size_t size) {
        if (bytes_.size() - position_ < size) {
            return std::nullopt;
        }
        uint64_t value = 0;
        for (size_t i = size; i-- > 0;) {
            value = value << 8 | static_cast<uint8_t>(bytes_[position_ + i]);
        }
        position_ += size;
        return value;
    }

    std::optional<std::string_view> text() {
        const size_t end = bytes_.find('\0', position_);
        if (end == std::string_view::npos) {
            return std::nullopt;
        }
        const std::string_view found = bytes_.substr(position_, end - position_);
        position_ = end + 1;
        return found;
    }

    std::optional<std::string_view> bytes(uint64_t size) {
        if (bytes_.size() - position_ < size) {
            return std::nullopt;
        }
        const std::string_view found = bytes_.substr(position_, size);
        position_ += size;
        return found;
    }

    size_t position() const { return position_; }

private:
    std::string_view bytes_;
    size_t position_ = 0;
};

std::unexpected<Error> cut(size_t offset, std::string_view what) {
    return fail(Fault::protocol,
                std::format("offset {}: expected {}, got the end of the file", offset, what));
}

Result<std::vector<std::string_view>> read_key_table(std::string_view file, uint64_t offset) {
    if (offset > file.size()) {
        return cut(file.size(), std::format("the table of keys at {}", offset));
    }
    Reader table(file.substr(offset));
    const auto count = table.number(4);
    // Each key has a zero byte at least.
    if (!count || *count > std::min<uint64_t>(file.size() - offset, kMaxKeys)) {
        return cut(offset, "a table of keys");
    }
    std::vector<std::string_view> keys;
    keys.reserve(*count);
    for (uint64_t i = 0; i < *count; ++i) {
        const auto key = table.text();
        if (!key) {
            return cut(offset, std::format("{} keys", *count));
        }
        keys.push_back(*key);
    }
    return keys;
}

/** Publishers write Windows' separators for all systems. */
std::string with_slashes(std::string_view path) {
    std::string result(path);
    std::ranges::replace(result, '\\', '/');
    return result;
}

std::vector<LaunchEntry> entries_of(const VdfNode& root) {
    std::vector<LaunchEntry> entries;
    for (const VdfNode& node : children_of(root.find({"appinfo", "config", "launch"}))) {
        LaunchEntry entry;
        entry.executable = with_slashes(node.string("executable"));
        entry.arguments = node.string("arguments");
        entry.working_directory = with_slashes(node.string("workingdir"));
        entry.type = node.string("type");
        if (const VdfNode* config = node.find("config")) {
            entry.systems = config->string("oslist");
            entry.bits = config->string("osarch");
            entry.beta_key = config->string("betakey");
        }
        if (!entry.executable.empty()) {
            entries.push_back(std::move(entry));
        }
    }
    return entries;
}

}  // namespace

Result<std::vector<LaunchEntry>> read_launch_entries(std::string_view file, uint32_t app_id) {
    Reader reader(file);
    const auto magic = reader.number(4);
    if (!magic || !reader.number(4)) {
        return cut(0, "a header");
    }
    if (*magic < kOldestMagic || *magic > kWithKeyTable) {
        return fail(Fault::unsupported,
                    std::format("expected version 27 to 29 of appinfo.vdf (0x{:08x} to 0x{:08x}), "
                                "got 0x{:08x}",
                                kOldestMagic, kWithKeyTable, *magic));
    }
    std::vector<std::string_view> keys;
    const bool numbered = *magic >= kWithKeyTable;
    if (numbered) {
        const auto offset = reader.number(8);
        if (!offset) {
            return cut(reader.position(), "the place of the table of keys");
        }
        auto table = read_key_table(file, *offset);
        if (!table) {
            return std::unexpected(table.error());
        }
        keys = std::move(*table);
    }
    const size_t head = kSectionHead + (*magic >= kWithBinaryHash ? kBinaryHash : 0);
    for (;;) {
        const size_t start = reader.position();
        const auto id = reader.number(4);
        if (id && *id == 0) {
            return fail(Fault::not_found, std::format("there is nothing on app {}", app_id));
        }
        const auto size = reader.number(4);
        const auto section = size ? reader.bytes(*size) : std::nullopt;
        if (!id || !section) {
            return cut(start, "a title");
        }
        if (*id != app_id) {
            continue;
        }
        if (section->size() < head) {
            return cut(start, "the title's entries");
        }
        auto root = parse_vdf_binary(section->substr(head), {}, numbered ? &keys : nullptr);
        if (!root) {
            return fail(root.error().fault,
                        std::format("app {}, {}", app_id, root.error().message));
        }
        return entries_of(*root);
    }
}

Result<std::vector<LaunchEntry>> load_launch_entries(const std::string& path, uint32_t app_id) {
    auto file = read_bounded_file(path, kMaxFile);
    if (!file) {
        return std::unexpected(file.error());
    }
    auto entries = read_launch_entries(*file, app_id);
    if (!entries) {
        return fail(entries.error().fault, path + ", " + entries.error().message);
    }
    return entries;
}

std::optional<LaunchEntry> default_entry(const std::vector<LaunchEntry>& entries,
                                         std::string_view system) {
    const LaunchEntry* best = nullptr;
    int best_score = 0;
    for (const LaunchEntry& entry : entries) {
        const bool windows_program = entry.executable.ends_with(".exe");
        const bool fits = entry.systems.empty() ? windows_program == (system == "windows")
                                                : entry.systems.contains(system);
        if (!fits || !entry.beta_key.empty()) {
            continue;
        }
        const bool plain = entry.type.empty() || entry.type == "none";
        const int score = (entry.type == "default" ? 6
                           : plain                 ? 4
                                                   : 1) +
                          (entry.bits == "32" ? 0 : 1);
        if (score > best_score) {
            best = &entry;
            best_score = score;
        }
    }
    return best != nullptr ? std::optional(*best) : std::nullopt;
}

}  // namespace stepscope::steam
