// SPDX-License-Identifier: LGPL-2.1-or-later
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "steam/unicode.hpp"
#include "steam/vdf.hpp"
#include "tests/support/vdf_writer.hpp"

using namespace stepscope;
using namespace stepscope::steam;
using namespace std::string_view_literals;
using namespace std::string_literals;

TEST_CASE("every type is read") {
    auto root = parse_vdf_binary(
        "\0map\0"
        "\x01s\0text\0"
        "\x02i\0\xfe\xff\xff\xff"
        "\x03"
        "f\0\x00\x00\x80\x3f"
        "\x04p\0\x01\x00\x00\x00"
        "\x05w\0g\0r\0\xf6\0\x3d\xd8\x00\xde\0\0"
        "\x06"
        "c\0\x11\x22\x33\x44"
        "\x07u\0\x01\x02\x03\x04\x05\x06\x07\x08"
        "\x0al\0\xff\xff\xff\xff\xff\xff\xff\xff"
        "\x08\x08"sv);
    INFO((root ? "" : root.error().message));
    REQUIRE(root);
    const VdfNode* map = root->find("MAP");
    REQUIRE(map != nullptr);
    REQUIRE(map->children.size() == 8);
    CHECK(map->string("s") == "text");
    CHECK(map->number("i") == 0xfffffffe);
    CHECK(std::bit_cast<float>(static_cast<uint32_t>(map->find("f")->bits)) == 1.0F);
    CHECK(map->number("f") == std::nullopt);
    CHECK(map->number("p") == 1);
    CHECK(map->string("w") == "grö😀");
    CHECK(map->find("w")->type == VdfType::wide_string);
    CHECK(map->number("c") == 0x44332211);
    CHECK(map->number("u") == 0x0807060504030201);
    CHECK(map->number("l") == UINT64_MAX);
    CHECK(map->find("l")->type == VdfType::int64);
}

TEST_CASE("binary that is accepted") {
    auto input = GENERATE(""sv, "\x08"sv, "\x0b"sv, "\0a\0\x08\x08"sv, "\0a\0\x0b\x0b"sv,
                          "\0a\0\x08"sv, "\x01\0\0\x08"sv, "\x01k\0\xff\xfe\0\x08"sv);
    CAPTURE(input);
    CHECK(parse_vdf_binary(input));
}

TEST_CASE("binary that is refused, with the offset, what was expected and what came") {
    struct Row {
        std::string_view input;
        std::string_view message;
    };
    auto row = GENERATE(values<Row>({
        {"\x09k\0"sv, "offset 0: expected a type (0x00 to 0x08, 0x0a, 0x0b), got 0x09"},
        {"\"AppState\"", "offset 0: expected a type (0x00 to 0x08, 0x0a, 0x0b), got 0x22"},
        {"\0a"sv, "offset 1: expected the zero byte that ends a key, got the end of the file"},
        {"\x01k\0v"sv,
         "offset 3: expected the zero byte that ends a string, got the end of the "
         "file"},
        {"\x05k\0v\0\0"sv,
         "offset 3: expected the zero unit that ends a wide string, got the end "
         "of the file"},
        {"\x02k\0\1\2\3"sv,
         "offset 3: expected a number of 4 bytes, got the end of the file after "
         "3"},
        {"\x07k\0"sv, "offset 3: expected a number of 8 bytes, got the end of the file after 0"},
        {"\0a\0"sv, "offset 3: expected the end of a map (0x08), got the end of the file"},
        {"\0a\0\0b\0\x08"sv, "offset 7: expected the end of a map (0x08), got the end of the file"},
        {"\x08\0\0"sv, "offset 1: expected the end of the file, got 2 more bytes"},
    }));
    CAPTURE(row.message);
    auto root = parse_vdf_binary(row.input);
    REQUIRE_FALSE(root);
    CHECK(root.error().message == row.message);
    CHECK(root.error().fault == Fault::protocol);
}

TEST_CASE("binary is bounded in size, depth and entries") {
    VdfLimits limits{.max_bytes = 30, .max_nodes = 3, .max_depth = 2};
    CHECK(parse_vdf_binary("\0a\0\0b\0\x08\x08\x08"sv, limits));
    auto deep = parse_vdf_binary("\0a\0\0b\0\0c\0\x08\x08\x08\x08"sv, limits);
    REQUIRE_FALSE(deep);
    CHECK(deep.error().message == "offset 9: expected at most 2 nested levels, got more");
    auto many = parse_vdf_binary("\1a\0\0\1a\0\0\1a\0\0\1a\0\0\x08"sv, limits);
    REQUIRE_FALSE(many);
    CHECK(many.error().message == "offset 12: expected at most 3 entries, got more");
    auto large = parse_vdf_binary(std::string(31, '\x08'), limits);
    REQUIRE_FALSE(large);
    CHECK(large.error().message == "offset 0: expected at most 30 bytes, got 31");
    CHECK_FALSE(parse_vdf_binary(std::string(1'000'000, '\0')));
}

TEST_CASE("every cut of a file is refused or read, never more") {
    std::string whole =
        "\0shortcuts\0\0"
        "0\0\x02"
        "appid\0\1\2\3\4\x01"
        "AppName\0Doom\0\x08\x08\x08"s;
    REQUIRE(parse_vdf_binary(whole));
    for (size_t length = 1; length + 1 < whole.size(); ++length) {
        CAPTURE(length);
        CHECK_FALSE(parse_vdf_binary(std::string_view(whole).substr(0, length)));
    }
}

TEST_CASE("binary survives a round trip with either end") {
    char end = GENERATE('\x08', '\x0b');
    auto first = parse_vdf_binary(
        "\0m\0\x01s\0\xc3\xa4\0\x02i\0\1\2\3\4\x03"
        "f\0\1\2\3\4\x04p\0\1\2\3\4\x06"
        "c\0\1\2\3\4\x07u\0\1\2\3\4\5\6\7\x08\x0al\0\1\2\3\4\5\6\7\x08\0e\0\x08\x08\x08"sv);
    REQUIRE(first);
    auto second = parse_vdf_binary(test::vdf_binary(*first, end));
    REQUIRE(second);
    CHECK(test::same_vdf(*first, *second));
}

TEST_CASE("UTF-16 with lone surrogates becomes valid UTF-8") {
    constexpr char16_t kHigh = 0xd83d;
    constexpr char16_t kLow = 0xde00;
    CHECK(utf8_from_utf16(std::u16string{kHigh, kLow}) == "😀");
    CHECK(utf8_from_utf16(std::u16string{kHigh, u'a', kLow}) == "\ufffda\ufffd");
    CHECK(utf8_from_utf16(u"aé菓") == "aé菓");
}
