// The 100 nouns that Traveling Words (Molina 2023) looks up, in its order; also runs/data/common-nouns.txt. GPT-2 knows 96 of
// them as single tokens at the beginning of a text (all but idea, others, moment and teacher), and all of them after a space.
#pragma once

#include <array>
#include <string_view>

namespace wayfarer::lookup {

inline constexpr std::array<std::string_view, 100> common_nouns{
    "time",    "year",   "people",   "way",     "day",         "man",     "thing",     "woman",   "life",       "child",
    "world",   "school", "state",    "family",  "student",     "group",   "country",   "problem", "hand",       "part",
    "place",   "case",   "week",     "company", "system",      "program", "question",  "work",    "government", "number",
    "night",   "point",  "home",     "water",   "room",        "mother",  "area",      "money",   "story",      "fact",
    "month",   "lot",    "right",    "study",   "book",        "eye",     "job",       "word",    "business",   "issue",
    "side",    "kind",   "head",     "house",   "service",     "friend",  "father",    "power",   "hour",       "game",
    "line",    "end",    "member",   "law",     "car",         "city",    "community", "name",    "president",  "team",
    "minute",  "idea",   "kid",      "body",    "information", "back",    "parent",    "face",    "others",     "level",
    "office",  "door",   "health",   "person",  "art",         "war",     "history",   "party",   "result",     "change",
    "morning", "reason", "research", "girl",    "guy",         "moment",  "air",       "teacher", "force",      "education"};

}  // namespace wayfarer::lookup
