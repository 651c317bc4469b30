"""One traced function in the place of another's equation."""

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from medjax.models.splicing import splice


def test_a_function_takes_the_place_of_an_equation_twice():
    traced = jax.make_jaxpr(lambda a, b: jnp.sin(jnp.sin(a) + b))(1.0, 2.0)
    first, add, last = traced.jaxpr.eqns

    def square_and_double(value):
        return 2 * (value * value)

    equations = [
        *splice(square_and_double, first.invars, first),
        add,
        *splice(square_and_double, last.invars, last),
    ]
    changed = traced.replace(jaxpr=traced.jaxpr.replace(eqns=equations))
    assert jaxpr_as_fun(changed)(3.0, 4.0)[0] == 2 * (2 * 9 + 4) ** 2
