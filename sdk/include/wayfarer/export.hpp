// Visibility of the SDK's own symbols. Everything else, plugins above all, is built with hidden visibility.
#pragma once

#define WAYFARER_API __attribute__((visibility("default")))
