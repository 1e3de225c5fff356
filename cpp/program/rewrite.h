// All rewrites of a program before it is planned. Names no op but those that move, sums, and the
// product of the chain rule.
#pragma once
#include "program/simplify.h"

namespace wengert {

struct Rewritten {
  Simplified simplified;
  int64_t neutral = 0;     // steps whose result is one of their operands
  int64_t narrowed = 0;    // steps computed once for what was broadcast
  int64_t transposed = 0;  // steps carried out in the layout of their operands
  int64_t placed = 0;      // sums with what is zero almost everywhere, made where it is not
  int64_t summed = 0;      // sums of boxes at one place, made before they are placed
  int64_t joined = 0;      // sums of boxes that are put side by side
  int64_t signs = 0;       // negations that sums and products take up
  int64_t slopes = 0;      // derivatives made with the function
  int64_t trailing = 0;    // functions of a product that the product computes
  int64_t rerolled = 0;    // steps on single numbers that became lanes of others
};

// `exact`: only rewrites that keep every bit, the sign of zeros and the order of sums included.
Rewritten rewrite(Program& program, bool exact);

// Whether nobody can change x: no tensor shows it, and its memory is our own.
bool is_fixed_constant(const Var& x);

// Drops steps whose result is an operand, given their constants: x + 0, x * 1, products with the identity.
int64_t drop_neutral(Program& program, bool exact);

// Elementwise steps on operands that are broadcast along the same axes are computed once and broadcast
// afterwards; so are slopes that a broader cotangent is multiplied with. Keeps every bit.
int64_t narrow(Program& program);

// A sum with a box in zeros that nobody else reads adds to the box alone, and the zeros are not made.
int64_t place_sums(Program& program);

// Of boxes at one place the sum is placed: the first is not placed and read again.
int64_t sum_boxes(Program& program);

// A sum of boxes that fill an array becomes their concatenation.
int64_t join_boxes(Program& program);

// a + -b becomes a - b, and so on; a sign on a factor moves to the product where sums take it from there.
int64_t fold_signs(Program& program);

// Where f(x) and derivatives of f at x are all that reads x, the slope is made with f(x), in the place of x,
// and multiplied later. Keeps every bit.
int64_t share_slopes(Program& program);

// Functions, sums and slopes behind products are computed with them. Unless `exact`, sums in another order.
int64_t attach(Program& program, bool exact);

// Equal operations on many single numbers become one on a vector of them, level by level. Unless `exact`,
// sums of several numbers and of products are added up in another order: as reductions and products of
// matrices where the numbers lie so.
int64_t reroll(Program& program, bool exact);

// Elementwise steps on transposed operands are carried out in the memory's order, and their result
// is transposed instead, where only products and further such steps read it.
int64_t move_transposes(Program& program);

}  // namespace wengert
