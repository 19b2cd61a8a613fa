// What a plugin was compiled with: the size, the fields and the virtual functions of each type that crosses between plugin and
// host.
//
// The headers of the SDK end with a list of their types. Each file of a plugin that includes a header carries its lists in a
// section of their own, which the descriptor names; the host compares them with its own before it calls anything of the plugin,
// and refuses one that differs. So a plugin sees the numbers that the host means, or does not load. Plugin authors write nothing.
// Constant data: no constructor runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <wayfarer/export.hpp>

namespace wayfarer {

enum class layout_kind : std::uint32_t { fields = 1, functions = 2, enumerators = 3 };

/// One field, virtual function or enumerator of a type.
struct member_layout {
  char const* name;
  void const* function;          ///< a pointer to member function, which holds its place in the virtual table; null for others
  std::uint32_t offset, size;    ///< of a field, bytes; `offset` of an enumerator: its value
  std::uint32_t mark, reserved;  ///< alike for like types, whichever compiler made it
};
struct type_layout {
  char const* header;  ///< "model.hpp"
  char const* name;    ///< "model_info"
  member_layout const* members;
  void const* after;  ///< for `functions`, a pointer to a virtual function that would follow all of them; else null
  layout_kind kind;
  std::uint32_t count, size, alignment;
};
static_assert(sizeof(member_layout) == 32 && sizeof(type_layout) == 48, "the layout is frozen within a major version");

/// The lists of the SDK's own library: of every header. For the host.
WAYFARER_API std::span<type_layout const* const> sdk_layouts() noexcept;

/// Specialised for each listed type, and for arrays of a class, which stand for its private structs. A class with private fields
/// makes all of it a friend.
template <class T>
struct layout_of;
/// Derived from a class with virtual functions, to find out how many it has.
template <class T>
struct after_all_of;

namespace layouts {

/// A number that two types share only by chance unless they are alike, whichever compiler made it. Classes that no template made
/// are all alike: their own lists and sizes tell them apart, and they may be incomplete here.
template <class T>
consteval std::uint32_t mark_of() {
  if constexpr (std::is_floating_point_v<T>)
    return 0x100 + sizeof(T);
  else if constexpr (std::is_same_v<T, bool>)
    return 0x200;
  else if constexpr (std::is_integral_v<T>)
    return (std::is_signed_v<T> ? 0x300 : 0x400) + sizeof(T);
  else if constexpr (std::is_enum_v<T>)
    return 0x500 + sizeof(T);
  else
    return std::is_void_v<T> ? 0x600 : 0x700;
}
constexpr std::uint32_t mix(std::uint32_t a, std::uint32_t b) noexcept {
  return (a ^ (b + 0x9e3779b9u)) * 16777619u;
}

template <class T>
inline constexpr std::uint32_t mark = mark_of<T>();
template <class T>
inline constexpr std::uint32_t mark<T const> = mix(1, mark<T>);
template <class T>
inline constexpr std::uint32_t mark<T*> = mix(2, mark<T>);
template <class T>
inline constexpr std::uint32_t mark<T&> = mix(3, mark<T>);
template <class T>
inline constexpr std::uint32_t mark<T&&> = mix(4, mark<T>);
/// Of a template's arguments the first two: enough for containers.
template <class A, class B = void, class...>
consteval std::uint32_t arguments() {
  return mix(mix(5, mark<A>), mark<B>);
}
template <template <class...> class Of, class... A>
inline constexpr std::uint32_t mark<Of<A...>> = arguments<A...>();
template <template <class, std::size_t> class Of, class A, std::size_t N>
inline constexpr std::uint32_t mark<Of<A, N>> = mix(mix(7, mark<A>), static_cast<std::uint32_t>(N));

/// How a parameter or a result is handed over: a class by value takes its size too.
template <class T>
consteval std::uint32_t handed_over() {
  if constexpr (std::is_class_v<T>)
    return mix(mark<T>, sizeof(T));
  else
    return mark<T>;
}
template <class R, class... A>
consteval std::uint32_t signature(std::uint32_t kind) {
  std::uint32_t all = mix(kind, handed_over<R>());
  ((all = mix(all, handed_over<A>())), ...);
  return all;
}
template <class R, class... A>
inline constexpr std::uint32_t mark<R(A...)> = signature<R, A...>(8);
template <class R, class C, class... A>
inline constexpr std::uint32_t mark<R (C::*)(A...)> = signature<R, A...>(9);
template <class R, class C, class... A>
inline constexpr std::uint32_t mark<R (C::*)(A...) const> = signature<R, A...>(10);
template <class R, class C, class... A>
inline constexpr std::uint32_t mark<R (C::*)(A...) noexcept> = signature<R, A...>(11);
template <class R, class C, class... A>
inline constexpr std::uint32_t mark<R (C::*)(A...) const noexcept> = signature<R, A...>(12);

/// A reference takes the place of a pointer.
template <class T>
inline constexpr std::uint32_t place_size = std::is_reference_v<T> ? sizeof(void*) : sizeof(std::remove_reference_t<T>);

/// A pointer to a virtual function holds its place in the table of its class (Itanium C++ ABI 2.3), and needs no object.
template <auto Function>
[[gnu::visibility("hidden")]] inline constexpr auto place_of = Function;

/// What the linker puts before and after the lists of all files of this library.
extern type_layout const* const first_layout[] __asm__("__start_wayfarer_layouts") __attribute__((visibility("hidden")));
extern type_layout const* const last_layout[] __asm__("__stop_wayfarer_layouts") __attribute__((visibility("hidden")));

}  // namespace layouts
}  // namespace wayfarer

// WAYFARER_EACH(m, a, b, c): m(a) m(b) m(c), of at most 24.
#define WAYFARER_EACH_1(m, x) m(x)
#define WAYFARER_EACH_2(m, x, ...) m(x) WAYFARER_EACH_1(m, __VA_ARGS__)
#define WAYFARER_EACH_3(m, x, ...) m(x) WAYFARER_EACH_2(m, __VA_ARGS__)
#define WAYFARER_EACH_4(m, x, ...) m(x) WAYFARER_EACH_3(m, __VA_ARGS__)
#define WAYFARER_EACH_5(m, x, ...) m(x) WAYFARER_EACH_4(m, __VA_ARGS__)
#define WAYFARER_EACH_6(m, x, ...) m(x) WAYFARER_EACH_5(m, __VA_ARGS__)
#define WAYFARER_EACH_7(m, x, ...) m(x) WAYFARER_EACH_6(m, __VA_ARGS__)
#define WAYFARER_EACH_8(m, x, ...) m(x) WAYFARER_EACH_7(m, __VA_ARGS__)
#define WAYFARER_EACH_9(m, x, ...) m(x) WAYFARER_EACH_8(m, __VA_ARGS__)
#define WAYFARER_EACH_10(m, x, ...) m(x) WAYFARER_EACH_9(m, __VA_ARGS__)
#define WAYFARER_EACH_11(m, x, ...) m(x) WAYFARER_EACH_10(m, __VA_ARGS__)
#define WAYFARER_EACH_12(m, x, ...) m(x) WAYFARER_EACH_11(m, __VA_ARGS__)
#define WAYFARER_EACH_13(m, x, ...) m(x) WAYFARER_EACH_12(m, __VA_ARGS__)
#define WAYFARER_EACH_14(m, x, ...) m(x) WAYFARER_EACH_13(m, __VA_ARGS__)
#define WAYFARER_EACH_15(m, x, ...) m(x) WAYFARER_EACH_14(m, __VA_ARGS__)
#define WAYFARER_EACH_16(m, x, ...) m(x) WAYFARER_EACH_15(m, __VA_ARGS__)
#define WAYFARER_EACH_17(m, x, ...) m(x) WAYFARER_EACH_16(m, __VA_ARGS__)
#define WAYFARER_EACH_18(m, x, ...) m(x) WAYFARER_EACH_17(m, __VA_ARGS__)
#define WAYFARER_EACH_19(m, x, ...) m(x) WAYFARER_EACH_18(m, __VA_ARGS__)
#define WAYFARER_EACH_20(m, x, ...) m(x) WAYFARER_EACH_19(m, __VA_ARGS__)
#define WAYFARER_EACH_21(m, x, ...) m(x) WAYFARER_EACH_20(m, __VA_ARGS__)
#define WAYFARER_EACH_22(m, x, ...) m(x) WAYFARER_EACH_21(m, __VA_ARGS__)
#define WAYFARER_EACH_23(m, x, ...) m(x) WAYFARER_EACH_22(m, __VA_ARGS__)
#define WAYFARER_EACH_24(m, x, ...) m(x) WAYFARER_EACH_23(m, __VA_ARGS__)
#define WAYFARER_EACH_OF(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18, _19, _20, _21, _22, \
                         _23, _24, count, ...)                                                                                \
  WAYFARER_EACH_##count
#define WAYFARER_EACH(m, ...)                                                                                            \
  WAYFARER_EACH_OF(__VA_ARGS__, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, ) \
  (m, __VA_ARGS__)

// The name alone: where a header lies is none of the host's business.
#ifdef __FILE_NAME__
#define WAYFARER_THIS_FILE __FILE_NAME__
#else
#define WAYFARER_THIS_FILE __FILE__
#endif

#define WAYFARER_FIELD(f)                                                       \
  ::wayfarer::member_layout{#f,                                                 \
                            nullptr,                                            \
                            offsetof(self, f),                                  \
                            ::wayfarer::layouts::place_size<decltype(self::f)>, \
                            ::wayfarer::layouts::mark<decltype(self::f)>,       \
                            0},
#define WAYFARER_FUNCTION(f) \
  ::wayfarer::member_layout{#f, &::wayfarer::layouts::place_of<&self::f>, 0, 0, ::wayfarer::layouts::mark<decltype(&self::f)>, 0},
#define WAYFARER_ENUMERATOR(e) ::wayfarer::member_layout{#e, nullptr, static_cast<std::uint32_t>(self::e), 0, 0, 0},

#define WAYFARER_JOIN_(a, b) a##b
#define WAYFARER_JOIN(a, b) WAYFARER_JOIN_(a, b)
// A last member that counts for nothing, so that a list may be empty. The entry in the section is each file's own: compilers
// don't merge what is in a named section.
#define WAYFARER_LIST(key_, type_, name_, kind_, after_, ...)                                                      \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Winvalid-offsetof\"") template <>              \
  struct [[gnu::visibility("hidden")]] layout_of<key_> {                                                           \
    using self = type_;                                                                                            \
    static constexpr ::wayfarer::member_layout members[] = {__VA_ARGS__{"", nullptr, 0, 0, 0, 0}};                 \
    static constexpr ::wayfarer::type_layout type{WAYFARER_THIS_FILE,                                              \
                                                  name_,                                                           \
                                                  members,                                                         \
                                                  after_,                                                          \
                                                  ::wayfarer::layout_kind::kind_,                                  \
                                                  sizeof members / sizeof members[0] - 1,                          \
                                                  sizeof(self),                                                    \
                                                  alignof(self)};                                                  \
  };                                                                                                               \
  _Pragma("GCC diagnostic pop")                                                                                    \
      [[gnu::section("wayfarer_layouts"), gnu::used, gnu::retain]] static constexpr ::wayfarer::type_layout const* \
      WAYFARER_JOIN(layout_entry_, __COUNTER__) = &layout_of<key_>::type

/// Of a struct or class, all fields in their order: WAYFARER_LAYOUT(dim, name, size). In namespace wayfarer, after the type.
#define WAYFARER_LAYOUT(type_, ...) \
  WAYFARER_LIST(type_, type_, #type_, fields, nullptr, __VA_OPT__(WAYFARER_EACH(WAYFARER_FIELD, __VA_ARGS__)))
/// Of a private struct of a class, which outside of it has no name; `number` counts those of the class, from 1.
#define WAYFARER_INNER_LAYOUT(class_, number, type_, ...) \
  WAYFARER_LIST(class_[number], class_::type_, #class_ "::" #type_, fields, nullptr, WAYFARER_EACH(WAYFARER_FIELD, __VA_ARGS__))
/// Of an enumeration, all enumerators.
#define WAYFARER_ENUM_LAYOUT(type_, ...) \
  WAYFARER_LIST(type_, type_, #type_, enumerators, nullptr, WAYFARER_EACH(WAYFARER_ENUMERATOR, __VA_ARGS__))
/// Of a class with virtual functions that others derive from, all of its own in their order but the destructor. How many there
/// are with those of its bases, listed or not, shows in the place of one that follows.
#define WAYFARER_INTERFACE_LAYOUT(type_, ...)                                                                     \
  template <>                                                                                                     \
  struct [[gnu::visibility("hidden")]] after_all_of<type_> : type_ {                                              \
    virtual void after_all() = 0;                                                                                 \
  };                                                                                                              \
  WAYFARER_LIST(type_, type_, #type_, functions, &::wayfarer::layouts::place_of<&after_all_of<type_>::after_all>, \
                __VA_OPT__(WAYFARER_EACH(WAYFARER_FUNCTION, __VA_ARGS__)))
