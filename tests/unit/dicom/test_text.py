"""PS3.5 H, I, J, K: the standard's own examples, and what the field makes of them."""

import pytest

from filmroom.dicom import text

JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
JAPANESE_KATAKANA = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
    b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)
KOREAN = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
)
CHINESE_G1 = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
EXAMPLES = [
    (b"\\ISO 2022 IR 87", JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        JAPANESE_KATAKANA,
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (b"\\ISO 2022 IR 149", KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
    (b"\\ISO 2022 IR 58", CHINESE_G1, "Zhang^XiaoDong=张^小东="),
    (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
    (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (b"ISO_IR 166", b"\xa1\xd2", "กา"),
    (b"ISO_IR 13", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
    (b"ISO_IR 203", b"\xa4", "€"),
]


@pytest.mark.parametrize(("declared", "raw", "expected"), EXAMPLES)
def test_the_standards_examples_are_read(declared, raw, expected):
    assert text.decode(raw, "PN", text.charsets(declared)) == expected


@pytest.mark.parametrize(("declared", "raw", "expected"), EXAMPLES)
def test_the_standards_examples_are_written(declared, raw, expected):
    assert text.encode(expected, "PN", text.charsets(declared)) == raw


def test_a_person_name_has_three_groups():
    name = text.person_name("Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert name == ("Yamada^Tarou", "山田^太郎", "やまだ^たろう")
    assert text.person_name("A=B=C=D").phonetic == "C"
    assert text.person_name("=山田") == ("", "山田", "")


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        (b"", ()),
        (b"  ", ()),
        (b"ISO_IR 100", ("ISO_IR 100",)),
        (b"ISO IR 100\0", ("ISO_IR 100",)),
        (b"ISO-IR-192", ("ISO_IR 192",)),
        (b"iso_ir 192 ", ("ISO_IR 192",)),
        (b"UTF-8", ("ISO_IR 192",)),
        (b"\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        (b"ISO2022IR13\\ISO_2022_IR_87", ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        (b"\xff\xfe", ("\ufffd\ufffd",)),
    ],
)
def test_the_terms_are_read_as_meant(raw, terms):
    assert text.charsets(raw) == terms


def test_a_backslash_may_be_half_a_character():
    assert "乗".encode("gbk")[1:] == b"\\"
    assert text.decode("乗\\b".encode("gbk"), "LO", ("GBK",)).split("\\") == ["乗", "b"]
    kanji = b"\x1b$B%\\\x1b(B\\x"  # katakana BO is 25 5C
    assert text.decode(kanji, "LO", ("", "ISO 2022 IR 87")).split("\\") == ["ボ", "x"]


def test_g1_falls_back_after_a_delimiter_when_the_first_set_has_one():
    terms = ("ISO 2022 IR 100", "ISO 2022 IR 144")
    assert text.decode(b"\x1b-L\xbb^\xe9", "PN", terms) == "Л^é"


def test_a_writer_may_forget_to_repeat_the_korean_escape():
    raw = b"\x1b$)C\xc8\xab^\xb1\xe6"
    assert text.decode(raw, "PN", ("", "ISO 2022 IR 149")) == "홍^길"


def test_undeclared_text_is_read_as_latin_1():
    assert text.decode(b"M\xfcller", "PN", ()) == "Müller"
    assert text.decode(b"M\xfcller", "PN", ("ISO_IR 6",)) == "Müller"


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        (b"\xff\xfe\x80", ("ISO_IR 192",)),
        (b"\xff\xfe", ("MY OWN SET",)),
        (b"\x1b$B\xff", ("", "ISO 2022 IR 87")),
        (b"\x1b$)C\xff", ("", "ISO 2022 IR 149")),
        (b"\x1b$(D\x80\x80", ("", "ISO 2022 IR 159")),
        (b"\x81", ("GB18030",)),
    ],
)
def test_what_cannot_be_read_is_replaced(raw, terms):
    assert "\ufffd" in text.decode(raw, "PN", terms)


def test_an_open_escape_does_no_harm():
    assert text.decode(b"A\x1b", "PN", ("", "ISO 2022 IR 87")) == "A\x1b"
    assert text.decode(b"\x1b$B;3", "PN", ("", "ISO 2022 IR 87")) == "山"
    assert text.decode(b"\x1b%G\x1bx", "PN", ("", "ISO 2022 IR 87")) == "\x1b%G\x1bx"


def test_padding_goes_and_leading_spaces_stay_only_in_long_text():
    assert text.decode(b" AB ", "LO", ()) == "AB"
    assert text.decode(b"1.2.3\0", "UI", ()) == "1.2.3"
    assert text.decode(b" A \\ B \0", "CS", ()) == "A\\B"
    assert text.decode(b"  two lines\r\n ", "LT", ()) == "  two lines\r\n"
    assert text.decode(b"a\\ b", "UT", ()) == "a\\ b"


def test_what_a_set_cannot_hold_becomes_a_question_mark():
    assert text.encode("Müller 王", "LO", ("ISO_IR 100",)) == b"M\xfcller ?"
    assert text.encode("Müller", "LO", ()) == b"M?ller"


def test_the_answers_set_is_the_askers_when_it_can_hold_them():
    assert text.choose_charset(["plain"], "") == ""
    assert text.choose_charset(["Jérôme"], "ISO_IR 100") == "ISO_IR 100"
    assert text.choose_charset(["Jérôme"], "") == "ISO_IR 192"
    assert text.choose_charset(["Jérôme", "王"], "ISO_IR 100") == "ISO_IR 192"
    assert text.choose_charset(["山田"], "\\ISO 2022 IR 87") == "\\ISO 2022 IR 87"
    assert text.choose_charset(["plain"], "NO SUCH SET") == "ISO_IR 192"
