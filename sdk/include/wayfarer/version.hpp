// The SDK's version and the tag of the compiler interface it was built for.
//
// A plugin records the versions that it was built against in its descriptor; the host loads it when the major versions are equal,
// the plugin's minor version is not newer than the host's, and the tags are equal. docs/plugin-abi.md says what may change when.
#pragma once

#include <cstdint>

#define WAYFARER_SDK_MAJOR 0
#define WAYFARER_SDK_MINOR 1
#define WAYFARER_VERSION "0.1.0"

// g++ and clang agree on this interface as long as they share libstdc++ and its string layout.
#if defined(__GLIBCXX__) || __has_include(<bits/c++config.h>)
#define WAYFARER_ABI_TAG "itanium-libstdc++-cxx11"
#else
#define WAYFARER_ABI_TAG "itanium-other"
#endif
