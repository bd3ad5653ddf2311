// SPDX-License-Identifier: LGPL-2.1-or-later
#include <algorithm>
#include <format>

#include "vdf.hpp"

namespace stepscope::steam {
namespace {

enum class TokenKind { end, text, open, close, conditional };

struct Token {
    TokenKind kind = TokenKind::end;
    std::string text;
    bool quoted = false;
    size_t line = 1;
};

constexpr size_t kShownCharacters = 40;

/** A token as an error shows it: short, and without control characters. */
std::string shown(const Token& token) {
    switch (token.kind) {
        case TokenKind::end:
            return "the end of the file";
        case TokenKind::open:
            return "'{'";
        case TokenKind::close:
            return "'}'";
        case TokenKind::conditional:
            return "a conditional";
        case TokenKind::text:
            break;
    }
    std::string text = "\"";
    for (char c : token.text) {
        if (text.size() > kShownCharacters) {
            text += "...";
            break;
        }
        auto byte = static_cast<unsigned char>(c);
        text += byte < 0x20 || byte == 0x7f ? '?' : c;
    }
    return text + '"';
}

std::unexpected<Error> wrong(size_t line, std::string_view what) {
    return fail(Fault::protocol, std::format("line {}: {}", line, what));
}

class Lexer {
public:
    explicit Lexer(std::string_view input) : input_(input) {}

    size_t line() const { return line_; }

    Result<Token> next() {
        skip_space_and_comments();
        Token token;
        token.line = line_;
        if (position_ == input_.size()) {
            return token;
        }
        switch (input_[position_]) {
            case '{':
                token.kind = TokenKind::open;
                ++position_;
                return token;
            case '}':
                token.kind = TokenKind::close;
                ++position_;
                return token;
            case '[':
                return conditional(std::move(token));
            case '"':
                return quoted(std::move(token));
            default:
                return unquoted(std::move(token));
        }
    }

private:
    static bool is_space(char c) {
        return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
    }

    /** A line ends with LF, CR LF or a lone CR. */
    void count_line(char c) {
        if (c == '\n' || (c == '\r' && !input_.substr(position_).starts_with("\r\n"))) {
            ++line_;
        }
    }

    void skip_space_and_comments() {
        while (position_ < input_.size()) {
            char c = input_[position_];
            if (is_space(c)) {
                count_line(c);
                ++position_;
            } else if (input_.substr(position_).starts_with("//")) {
                position_ = std::min(input_.find_first_of("\r\n", position_), input_.size());
            } else {
                return;
            }
        }
    }

    Result<Token> conditional(Token token) {
        size_t end = input_.find_first_of("]\r\n", position_);
        if (end == std::string_view::npos || input_[end] != ']') {
            return wrong(line_,
                         "expected ']' at the end of the conditional, got the end of the line");
        }
        token.kind = TokenKind::conditional;
        position_ = end + 1;
        return token;
    }

    Result<Token> quoted(Token token) {
        token.kind = TokenKind::text;
        token.quoted = true;
        for (++position_; position_ < input_.size(); ++position_) {
            char c = input_[position_];
            if (c == '"') {
                ++position_;
                return token;
            }
            if (c == '\0') {
                return nul();
            }
            if (c == '\\' && position_ + 1 < input_.size()) {
                if (char meaning = unescape(input_[position_ + 1]); meaning != '\0') {
                    token.text += meaning;
                    ++position_;
                    continue;
                }
            }
            count_line(c);
            token.text += c;
        }
        return wrong(token.line,
                     "expected '\"' to close the string that starts here, got the end of "
                     "the file");
    }

    static char unescape(char c) {
        switch (c) {
            case 'n':
                return '\n';
            case 't':
                return '\t';
            case '\\':
            case '"':
                return c;
            default:
                return '\0';
        }
    }

    Result<Token> unquoted(Token token) {
        token.kind = TokenKind::text;
        size_t start = position_;
        while (position_ < input_.size()) {
            char c = input_[position_];
            if (is_space(c) || c == '{' || c == '}' || c == '"') {
                break;
            }
            if (c == '\0') {
                return nul();
            }
            ++position_;
        }
        token.text = input_.substr(start, position_ - start);
        return token;
    }

    std::unexpected<Error> nul() const {
        return wrong(line_,
                     "expected text, got a zero byte; the file was not written to its end, or "
                     "is a binary one");
    }

    std::string_view input_;
    size_t position_ = 0;
    size_t line_ = 1;
};

class TextParser {
public:
    TextParser(std::string_view input, const VdfLimits& limits) : lexer_(input), limits_(limits) {}

    Result<VdfNode> parse() {
        VdfNode root;
        // Pointers into vectors that can't grow: only the innermost map gets new children.
        open_.push_back({.map = &root, .line = 1});
        for (;;) {
            auto token = lexer_.next();
            if (!token) {
                return std::unexpected(token.error());
            }
            if (token->kind == TokenKind::end) {
                break;
            }
            if (auto done = entry(std::move(*token)); !done) {
                return std::unexpected(done.error());
            }
        }
        if (open_.size() > 1) {
            return wrong(
                lexer_.line(),
                std::format("expected '}}' to close \"{}\" of line {}, got the end of the file",
                            open_.back().map->key, open_.back().line));
        }
        return root;
    }

private:
    struct OpenMap {
        VdfNode* map;
        size_t line;
    };

    /** The token that starts an entry, and what belongs to it. */
    Result<void> entry(Token key) {
        switch (key.kind) {
            case TokenKind::close:
                if (open_.size() == 1) {
                    return wrong(key.line, "expected a key or the end of the file, got '}'");
                }
                open_.pop_back();
                return {};
            case TokenKind::open:
                return wrong(key.line, "expected a key before '{', got none");
            case TokenKind::conditional:  // after a value: belongs to the entry before
            case TokenKind::end:
                return {};
            case TokenKind::text:
                return value(std::move(key));
        }
        return {};
    }

    Result<void> value(Token key) {
        auto token = lexer_.next();
        while (token && token->kind == TokenKind::conditional) {
            token = lexer_.next();
        }
        if (!token) {
            return std::unexpected(token.error());
        }
        if (token->kind != TokenKind::text && token->kind != TokenKind::open) {
            return wrong(token->line, std::format("expected a value or '{{' after {}, got {}",
                                                  shown(key), shown(*token)));
        }
        if (token->kind == TokenKind::text && !key.quoted &&
            (equal_ignoring_case(key.text, "#include") || equal_ignoring_case(key.text, "#base"))) {
            return {};
        }
        if (++nodes_ > limits_.max_nodes) {
            return wrong(key.line,
                         std::format("expected at most {} entries, got more", limits_.max_nodes));
        }
        VdfNode node;
        node.key = std::move(key.text);
        if (token->kind == TokenKind::text) {
            node.type = VdfType::string;
            node.text = std::move(token->text);
        }
        auto& siblings = open_.back().map->children;
        siblings.push_back(std::move(node));
        if (token->kind == TokenKind::open) {
            if (open_.size() > limits_.max_depth) {
                return wrong(token->line, std::format("expected at most {} nested levels, got more",
                                                      limits_.max_depth));
            }
            open_.push_back({.map = &siblings.back(), .line = key.line});
        }
        return {};
    }

    Lexer lexer_;
    const VdfLimits& limits_;
    std::vector<OpenMap> open_;
    size_t nodes_ = 0;
};

}  // namespace

Result<VdfNode> parse_vdf_text(std::string_view input, const VdfLimits& limits) {
    if (input.size() > limits.max_bytes) {
        return wrong(
            1, std::format("expected at most {} bytes, got {}", limits.max_bytes, input.size()));
    }
    if (input.starts_with("\xff\xfe") || input.starts_with("\xfe\xff")) {
        return wrong(1, "expected UTF-8, got UTF-16");
    }
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (input.starts_with(kByteOrderMark)) {
        input.remove_prefix(kByteOrderMark.size());
    }
    return TextParser(input, limits).parse();
}

}  // namespace stepscope::steam
