// SPDX-License-Identifier: LGPL-2.1-or-later
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <filesystem>
#include <fstream>

#include "steam/vdf.hpp"
#include "tests/support/vdf_writer.hpp"

using namespace stepscope;
using namespace stepscope::steam;
using namespace std::string_view_literals;

namespace {

/** key=value for strings, key{...} for maps: short enough for a table. */
std::string outline(const VdfNode& map) {
    std::string text;
    for (const auto& node : map.children) {
        text += text.empty() ? "" : " ";
        text += node.is_map() ? node.key + "{" + outline(node) + "}" : node.key + "=" + node.text;
    }
    return text;
}

}  // namespace

TEST_CASE("text that is accepted") {
    struct Row {
        std::string_view input;
        std::string_view outline;
    };
    auto row = GENERATE(values<Row>({
        {"", ""},
        {" \r\n\t", ""},
        {"// only a comment", ""},
        {R"("a" "b")", "a=b"},
        {R"("a""b""c""d")", "a=b c=d"},
        {"a b", "a=b"},
        {"a{b c}", "a{b=c}"},
        {"a\n{\n\tb c // why\n\t//}\n}\n", "a{b=c}"},
        {"a{}", "a{}"},
        {R"("" "")", "="},
        {R"("a" { "b" { "c" "d" } } "e" "f")", "a{b{c=d}} e=f"},
        {R"(k 1 k 2 K 3)", "k=1 k=2 K=3"},
        {"\xef\xbb\xbfkey value", "key=value"},
        {"a b\r\nc d\re f\n", "a=b c=d e=f"},
        {R"("k" "\\ \" \n \t.")", "k=\\ \" \n \t."},
        {R"("p" "C:\Games\new")", "p=C:\\Games\new"},  // \n is an escape, as it is for Steam
        {R"("p" "C:\Games\q")", "p=C:\\Games\\q"},
        {"\"two\nlines\" x", "two\nlines=x"},
        {"url http://example.org/a", "url=http://example.org/a"},
        {"a b [$WIN32]\nc d [!$X360||$OSX]", "a=b c=d"},
        {"a [$WIN32] b", "a=b"},
        {"a [$WIN32] { b c }", "a{b=c}"},
        {"#include \"other.vdf\"\n#base <x>\na b", "a=b"},
        {"\"#include\" kept", "#include=kept"},
        {"größe \"遊戲\"", "größe=遊戲"},
        {"bad \"\xff\xfe\"", "bad=\xff\xfe"},
    }));
    CAPTURE(row.input);
    auto root = parse_vdf_text(row.input);
    INFO((root ? "" : root.error().message));
    REQUIRE(root);
    CHECK(outline(*root) == row.outline);
}

TEST_CASE("text that is refused, with the line, what was expected and what came") {
    struct Row {
        std::string_view input;
        std::string_view message;
    };
    auto row = GENERATE(values<Row>({
        {"}", "line 1: expected a key or the end of the file, got '}'"},
        {"a b\n}", "line 2: expected a key or the end of the file, got '}'"},
        {"{", "line 1: expected a key before '{', got none"},
        {"a { { } }", "line 1: expected a key before '{', got none"},
        {"a", "line 1: expected a value or '{' after \"a\", got the end of the file"},
        {"x {\n a }", "line 2: expected a value or '{' after \"a\", got '}'"},
        {"a b\r\nc {\r\n d e\r\n",
         "line 4: expected '}' to close \"c\" of line 2, got the end of "
         "the file"},
        {"a\n\"open",
         "line 2: expected '\"' to close the string that starts here, got the end of "
         "the file"},
        {"a \"x\\\"",
         "line 1: expected '\"' to close the string that starts here, got the end of "
         "the file"},
        {"a b [$WIN32",
         "line 1: expected ']' at the end of the conditional, got the end of the "
         "line"},
        {"a \0"sv,
         "line 1: expected text, got a zero byte; the file was not written to its end, "
         "or is a binary one"},
        {"\0shortcuts\0"sv,
         "line 1: expected text, got a zero byte; the file was not written to "
         "its end, or is a binary one"},
        {"\"a\0\" b"sv,
         "line 1: expected text, got a zero byte; the file was not written to its "
         "end, or is a binary one"},
        {"\xff\xfe\"\0"sv, "line 1: expected UTF-8, got UTF-16"},
        {"\"\x1b[2J\" }", "line 1: expected a value or '{' after \"?[2J\", got '}'"},
    }));
    CAPTURE(row.input);
    auto root = parse_vdf_text(row.input);
    REQUIRE_FALSE(root);
    CHECK(root.error().message == row.message);
    CHECK(root.error().fault == Fault::protocol);
}

TEST_CASE("text is bounded in size, depth and entries") {
    VdfLimits limits{.max_bytes = 100, .max_nodes = 5, .max_depth = 3};
    CHECK(parse_vdf_text("a{b{c{}}}", limits));
    auto deep = parse_vdf_text("a{b{c{\nd{}}}}", limits);
    REQUIRE_FALSE(deep);
    CHECK(deep.error().message == "line 2: expected at most 3 nested levels, got more");
    CHECK(parse_vdf_text("a b a b a b a b a b", limits));
    auto many = parse_vdf_text("a b a b a b a b a b\na b", limits);
    REQUIRE_FALSE(many);
    CHECK(many.error().message == "line 2: expected at most 5 entries, got more");
    CHECK(parse_vdf_text(std::string(100, ' '), limits));
    auto large = parse_vdf_text(std::string(101, ' '), limits);
    REQUIRE_FALSE(large);
    CHECK(large.error().message == "line 1: expected at most 100 bytes, got 101");
    // A hostile file of nothing but braces ends with an error, not with the stack.
    std::string braces;
    for (int i = 0; i < 1'000'000; ++i) {
        braces += "a{";
    }
    CHECK_FALSE(parse_vdf_text(braces));
}

TEST_CASE("lookups ignore case and follow paths") {
    auto root = parse_vdf_text(R"(Software { VALVE { "Steam" { "n" "42" "neg" "-1" "big"
        "18446744073709551615" "over" "18446744073709551616" } } } software { second 1 })");
    REQUIRE(root);
    const VdfNode* steam = root->find({"software", "valve", "STEAM"});
    REQUIRE(steam != nullptr);
    CHECK(steam->string("N") == "42");
    CHECK(steam->number("n") == 42);
    CHECK(steam->flag("n"));
    CHECK(steam->number("big") == UINT64_MAX);
    CHECK(steam->number("neg") == std::nullopt);
    CHECK(steam->number("over") == std::nullopt);
    CHECK(steam->number("none") == std::nullopt);
    CHECK(steam->string("none").empty());
    CHECK(root->find({"software", "second"}) == nullptr);  // the first of that name counts
    CHECK(root->find({"software", "none", "x"}) == nullptr);
    CHECK(children_of(nullptr).empty());
}

TEST_CASE("text survives a round trip") {
    auto first = parse_vdf_text(R"("ä\"\\" { "b\n" "c\t" k 1 k 2 empty { } "" "" } top x)");
    REQUIRE(first);
    std::string written = test::vdf_text(*first);
    CAPTURE(written);
    auto second = parse_vdf_text(written);
    REQUIRE(second);
    CHECK(test::same_vdf(*first, *second));
}

TEST_CASE("files: what can't be read says which and why") {
    namespace fs = std::filesystem;
    std::string pattern = fs::temp_directory_path() / "stepscope-vdf-XXXXXX";
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    const std::string directory = pattern;
    auto missing = load_vdf_text(directory + "/none.vdf");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().fault == Fault::not_found);
    CHECK(missing.error().message.contains(directory + "/none.vdf"));
    auto folder = load_vdf_text(directory);
    REQUIRE_FALSE(folder);
    CHECK(folder.error().message == "expected a regular file at '" + directory + "'");
    std::string path = directory + "/broken.vdf";
    std::ofstream(path) << "a {\n";
    auto broken = load_vdf_text(path);
    REQUIRE_FALSE(broken);
    CHECK(broken.error().message.starts_with(path + ", line 2: expected '}'"));
    auto large = load_vdf_text(path, {.max_bytes = 3});
    REQUIRE_FALSE(large);
    CHECK(large.error().message.contains("is larger than the 3 bytes"));
    CHECK(load_vdf_text(path, {.max_bytes = 4}).error().message.contains("line 2"));
    fs::remove_all(directory);
}
