// WAYFARER_SANITIZED: defined where the address or the thread sanitizer is compiled in, which has a malloc of its own and needs
// memory and time of its own. g++ and clang say so in different ways.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WAYFARER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WAYFARER_SANITIZED 1
#endif
#endif
