// The recurrences of RWKV 5 to 7: how a layer mixes positions ("time mixing"), given its projections.
//
// Each goes through the positions with the SDK's scan, taps the state and the weights between positions that it amounts to, and
// gives what its receptance reads. Float or double as the rows are. Free functions; any thread, not for the same objects.
#pragma once

#include <wayfarer/rows.hpp>
#include <wayfarer/scan.hpp>
#include <wayfarer/taps.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::rwkv {

/// RWKV-5 and 6: y = r (S + u k v), S' = w S + k v in each head; S is [key, value]. `decays` [pos, d_attn].
/// RWKV-7: `removal` and `rate` defined, no bonus: S' = w S - (kk a) (kk S) + k v, y = r S'.
struct head_mixer {
  std::size_t heads = 1;
  rows r, k, v, decays;
  tensor bonus{};
  rows removal{}, rate{};
};
rows mix_heads(head_mixer const&, carried& state, tap_scope const& at);

}  // namespace wayfarer::rwkv
