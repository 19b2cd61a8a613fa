// The steps of a norm whose inner hooks are looked at: each inner value is a value on the tape.
#pragma once

#include <wayfarer/layers.hpp>

namespace wayfarer {

/// scale = sqrt(variance of x + epsilon), one for each vector.
void add_scale_step(rows& scale, rows const& x, norm_weights const&, bool centred);
/// normalized = (x - means) / scale, where the means are those of x.
void add_normalize_step(rows& normalized, rows const& x, rows const& scale, rows const& means, bool centred);
/// out = normalized w + b.
void add_affine_step(rows& out, rows const& normalized, norm_weights const&);

}  // namespace wayfarer
