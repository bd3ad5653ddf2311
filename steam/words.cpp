// SPDX-License-Identifier: LGPL-2.1-or-later
#include "words.hpp"

#include <charconv>
#include <format>

namespace stepscope::steam {
namespace {

constexpr std::string_view kSpace = " \t\n\r\v\f";

bool is_name(std::string_view name) {
    constexpr std::string_view kLetters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return !name.empty() && name.find_first_not_of(kLetters) == std::string_view::npos &&
           !(name.front() >= '0' && name.front() <= '9');
}

}  // namespace

Result<std::vector<std::string>> split_words(std::string_view text) {
    std::vector<std::string> words;
    std::string word;
    bool in_word = false;
    char quote = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote == '\'') {
            quote = c == '\'' ? '\0' : quote;
            if (quote != 0) {
                word += c;
            }
        } else if (c == '\\' && i + 1 < text.size()) {
            const char next = text[i + 1];
            if (quote == '"' && next != '"' && next != '\\' && next != '$' && next != '`') {
                word += c;
            }
            word += next;
            ++i;
            in_word = true;
        } else if (quote == '"') {
            quote = c == '"' ? '\0' : quote;
            if (quote != 0) {
                word += c;
            }
        } else if (c == '\'' || c == '"') {
            quote = c;
            in_word = true;
        } else if (kSpace.contains(c)) {
            if (in_word) {
                words.push_back(std::move(word));
                word.clear();
            }
            in_word = false;
        } else {
            word += c;
            in_word = true;
        }
    }
    if (quote != 0) {
        return fail(Fault::usage, std::format("expected a closing {} in '{}'", quote, text));
    }
    if (in_word) {
        words.push_back(std::move(word));
    }
    return words;
}

std::string join_words(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) {
        line += line.empty() ? "" : " ";
        if (!word.empty() && word.find_first_of(" \t\n'\"\\$`|&;<>()*?#~") == std::string::npos) {
            line += word;
            continue;
        }
        line += '\'';
        for (char c : word) {
            line += c == '\'' ? std::string("'\\''") : std::string(1, c);
        }
        line += '\'';
    }
    return line;
}

Result<std::vector<EnvironmentChange>> parse_environment(std::string_view text) {
    auto words = split_words(text);
    if (!words) {
        return std::unexpected(words.error());
    }
    std::vector<EnvironmentChange> changes;
    for (const std::string& word : *words) {
        const size_t equals = word.find('=');
        EnvironmentChange change;
        if (equals != std::string::npos) {
            change.name = word.substr(0, equals);
            change.value = word.substr(equals + 1);
        } else if (word.starts_with('-')) {
            change.name = word.substr(1);
            change.unset = true;
        }
        if (!is_name(change.name)) {
            return fail(Fault::usage,
                        std::format("expected NAME=value, or -NAME to remove one, got '{}'", word));
        }
        changes.push_back(std::move(change));
    }
    return changes;
}

std::string percent_decoded(std::string_view text) {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        if (text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr ==
                text.data() + i + 3) {
            result += static_cast<char>(value);
            i += 2;
        } else {
            result += text[i];
        }
    }
    return result;
}

}  // namespace stepscope::steam
