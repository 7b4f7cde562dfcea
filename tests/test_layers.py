"""Every lowering is the library's convolution, gradients included; batch norm is PyTorch's."""

import functools
import operator
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ttp_jax.networks import blocks, layers, perceptual, winograd
from ttp_jax.networks.blocks import PAIR, PLAIN, Blocks

LOWERINGS = [name for name in layers.LOWERINGS if name != 'library']
# height, width, in, out, kernel, stride
SHAPES = [
    (7, 10, 4, 2, 3, 1),
    (7, 10, 4, 2, 3, 2),
    (8, 8, 3, 5, 7, 1),
    (8, 9, 3, 4, 7, 2),
    (2, 3, 2, 3, 7, 1),
    (2, 3, 2, 3, 7, 2),
    (8, 7, 5, 3, 1, 1),
    (8, 7, 5, 3, 1, 2),
    (1, 1, 4, 4, 3, 1),
    (7, 8, 2, 3, 5, 3),
    (7, 8, 2, 3, 1, 3),
]
PEOPLE, IMAGES = 3, 2


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def output_and_gradients(function, *arguments):
    output, pullback = jax.vjp(function, *arguments)
    return output, *pullback(normal(9, *output.shape))


def assert_close(actual, expected, relative=1e-5):
    """Relative to the largest value: sums that cancel are only as exact as their terms."""

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * max(float(np.abs(b).max()), 1e-6))

    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    jax.tree.map(compare, actual, expected)


def strided(lowering, stride):
    return functools.partial(layers.convolve, stride=stride, lowering=lowering)


@pytest.mark.parametrize('k', [3, 7])
def test_separable_maps_are_convolved_as_if_multiplied_out(k):
    def separable(rows, columns, kernel):
        return layers.convolve_separable(layers.SeparableMaps(rows, columns), kernel)

    def multiplied_out(rows, columns, kernel):
        return layers.convolve(jnp.einsum('nhc,nwc->nhwc', rows, columns), kernel)

    arguments = normal(0, 2, 5, 3), normal(1, 2, 7, 3), normal(2, k, k, 3, 4)
    expected = output_and_gradients(multiplied_out, *arguments)
    assert_close(output_and_gradients(separable, *arguments), expected)


@pytest.mark.parametrize('lowering', LOWERINGS)
@pytest.mark.parametrize('height, width, channels, features, k, stride', SHAPES)
def test_convolution_and_gradients_agree_with_the_library(
    lowering, height, width, channels, features, k, stride
):
    x, kernel = normal(0, IMAGES, height, width, channels), normal(1, k, k, channels, features)
    expected = output_and_gradients(strided('library', stride), x, kernel)
    actual = jax.jit(functools.partial(output_and_gradients, strided(lowering, stride)))(x, kernel)
    assert_close(actual, expected)


@pytest.mark.parametrize(
    'window, padding',
    [(2, ((0, 0), (0, 0))), (3, ((1, 1), (1, 1))), (3, ((0, 0), (0, 1))), (3, ((0, 1), (0, 0)))],
)
@pytest.mark.parametrize('height, width', [(8, 12), (7, 9), (6, 5), (3, 4)])
@pytest.mark.parametrize('lowering', ['library', 'tpu'])
def test_max_pool_and_its_gradient_agree_with_the_library(lowering, height, width, window, padding):
    x = normal(0, IMAGES, height, width, 3)

    def library(x):
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), ((0, 0), *padding, (0, 0))
        )

    expected = output_and_gradients(library, x)
    pool = functools.partial(layers.max_pool, window=window, padding=padding, lowering=lowering)
    assert_close(output_and_gradients(pool, x), expected)


@pytest.mark.parametrize('tile', sorted(winograd.POINTS))
@pytest.mark.parametrize('height, width', [(8, 12), (7, 10), (1, 3)])
def test_winograd_tiles_and_their_gradients_agree_with_the_library(tile, height, width):
    x, kernel = normal(0, IMAGES, height, width, 5), normal(1, 3, 3, 5, 4)
    expected = output_and_gradients(strided('library', 1), x, kernel)
    tiled = functools.partial(winograd.convolve, tile=tile)
    assert_close(output_and_gradients(tiled, x, kernel), expected)


def wide(tile):
    """Pixels and kernels of two people for which 'blocked' takes these tiles."""
    channels, features = (48, 64) if tile == 4 else (72, 64)
    x, kernel = normal(0, 2, IMAGES, 8, 6, channels), normal(1, 2, 3, 3, channels, features)
    x = x[:, :, :4, :4] if tile == 2 else x.repeat(2, axis=2)
    assert layers._tile(x[0], features) == tile
    return x, kernel


@pytest.mark.parametrize('tile', sorted(winograd.POINTS))
def test_wide_layers_agree_with_the_library(tile):
    x, kernel = wide(tile)
    everyone = jax.vmap(functools.partial(output_and_gradients, strided('blocked', 1)))(x, kernel)
    for person in range(2):
        expected = output_and_gradients(strided('library', 1), x[person], kernel[person])
        assert_close(jax.tree.map(operator.itemgetter(person), everyone), expected)


@pytest.mark.parametrize(
    'function, k', [(layers.convolve_transpose, 4), (layers.convolve_upsampled, 3)]
)
def test_wide_layers_that_double_agree_with_the_library(function, k):
    x, kernel = normal(0, IMAGES, 12, 13, 32), normal(1, k, k, 32, 32)
    assert layers._tile(x, 4 * 32) == 4
    expected, actual = (
        output_and_gradients(functools.partial(function, lowering=lowering), x, kernel)
        for lowering in ('library', 'blocked')
    )
    assert_close(actual, expected)


@pytest.mark.parametrize('dtype, relative', [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
@pytest.mark.parametrize('stride', [1, 2])
def test_few_images_at_a_time_agree_with_the_library(monkeypatch, stride, dtype, relative):
    monkeypatch.setattr(layers, 'BLOCK_BYTES', 1)
    x, kernel = normal(0, PEOPLE, 4, 16, 18, 3), normal(1, PEOPLE, 3, 3, 3, 4)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    assert layers._images_at_once(x[0], kernel[0]) == 1

    def everyone(lowering):
        function = jax.vmap(
            lambda x, kernel: layers.convolve(x, kernel, stride=stride, lowering=lowering)
        )
        output, pullback = jax.vjp(function, x, kernel)
        return output, *pullback(normal(9, *output.shape).astype(dtype))

    expected, actual = (
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), everyone(lowering))
        for lowering in ('library', 'blocked')
    )
    assert_close(actual, expected, relative)


@pytest.mark.parametrize('lowering', LOWERINGS)
@pytest.mark.parametrize('in_axes', [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize('k, stride', [(3, 1), (3, 2), (7, 2), (1, 1)])
def test_vmap_over_people_is_a_loop_over_people(lowering, in_axes, k, stride):
    x, kernel = normal(0, PEOPLE, IMAGES, 6, 5, 3), normal(1, PEOPLE, k, k, 3, 4)
    x, kernel = (a if axis == 0 else a[0] for a, axis in zip((x, kernel), in_axes))

    def one(p):
        person = (a if axis is None else a[p] for a, axis in zip((x, kernel), in_axes))
        return output_and_gradients(strided('library', stride), *person)

    everyone = functools.partial(output_and_gradients, strided(lowering, stride))
    actual = jax.jit(jax.vmap(everyone, in_axes))(x, kernel)
    assert_close(actual, jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(one, range(PEOPLE))))


@pytest.mark.parametrize('lowering', LOWERINGS)
def test_convolution_of_repeated_pixels_agrees_with_the_library(lowering):
    x, kernel = normal(0, IMAGES, 5, 4, 6), normal(1, 3, 3, 6, 3)

    def repeated(x, kernel):
        return layers.convolve(x.repeat(2, axis=1).repeat(2, axis=2), kernel)

    expected = output_and_gradients(repeated, x, kernel)
    for how in ('library', lowering):
        convolve = functools.partial(layers.convolve_upsampled, lowering=how)
        assert_close(output_and_gradients(convolve, x, kernel), expected)


def test_only_three_by_three_kernels_meet_repeated_pixels():
    with pytest.raises(ValueError, match='expected 3 x 3'):
        layers.convolve_upsampled(normal(0, 1, 4, 4, 2), normal(1, 5, 5, 2, 2))


def test_shared_kernel_takes_the_sum_of_everyones_gradient():
    x, kernel = normal(0, PEOPLE, IMAGES, 6, 5, 3), normal(1, 3, 3, 3, 4)

    def loss(kernel, lowering):
        everyone = jax.vmap(lambda x: layers.convolve(x, kernel, lowering=lowering))
        return jnp.square(everyone(x)).sum()

    assert_close(jax.grad(loss)(kernel, 'matmul'), jax.grad(loss)(kernel, 'library'))


def personalize(lowering, kernels, x, *, remat=False):
    """Three gradient steps on a stack of all the layers: the shape of the inner loop."""

    def loss(kernels, x):
        h = jnp.tanh(layers.convolve(x, kernels['down'], stride=2, lowering=lowering))
        h = jnp.tanh(layers.convolve(h, kernels['same'], lowering=lowering))
        h = layers.convolve_transpose(h, kernels['up'], lowering=lowering)
        return jnp.square(layers.convolve(h, kernels['point'], lowering=lowering) - 1).mean()

    def step(kernels, _):
        value, gradient = jax.value_and_grad(jax.checkpoint(loss) if remat else loss)(kernels, x)
        return jax.tree.map(lambda w, g: w - 0.1 * g, kernels, gradient), value

    return lax.scan(step, kernels, length=3)


@pytest.mark.parametrize('lowering', LOWERINGS)
@pytest.mark.parametrize('remat', [False, True])
def test_inner_loop_is_the_same_under_vmap_scan_and_remat(lowering, remat):
    shapes = {'down': (7, 7, 3, 4), 'same': (3, 3, 4, 5), 'up': (4, 4, 5, 3), 'point': (1, 1, 3, 2)}
    kernels = {
        name: 0.3 * normal(i, PEOPLE, *shape) for i, (name, shape) in enumerate(shapes.items())
    }
    x = normal(7, PEOPLE, IMAGES, 8, 8, 3)
    expected = jax.vmap(functools.partial(personalize, 'library'))(kernels, x)
    actual = jax.jit(jax.vmap(functools.partial(personalize, lowering, remat=remat)))(kernels, x)
    assert_close(actual, expected)
    assert np.all(actual[1][:, -1] < actual[1][:, 0]), 'the loss should go down'


@pytest.mark.parametrize('lowering', layers.LOWERINGS)
def test_transposed_convolution_is_pytorchs(lowering):
    """By definition, written out: input row y adds weight[:, :, a] to output row 2 y + a - 1."""
    x, weight = normal(0, IMAGES, 3, 4, 5), np.asarray(normal(1, 5, 6, 4, 4))  # [in, out, kh, kw]
    expected = np.zeros((IMAGES, 3 * 2 + 2, 4 * 2 + 2, 6), np.float32)
    for row, column, a, b in np.ndindex(3, 4, 4, 4):
        added = np.asarray(x)[:, row, column] @ weight[:, :, a, b]
        expected[:, 2 * row + a, 2 * column + b] += added
    kernel = jnp.asarray(weight.transpose(2, 3, 0, 1))
    actual = layers.convolve_transpose(x, kernel, lowering=lowering)
    assert_close(actual, jnp.asarray(expected[:, 1:-1, 1:-1]))


@pytest.mark.parametrize('lowering', LOWERINGS)
def test_transposed_convolution_gradients_agree_with_the_library(lowering):
    x, kernel = normal(0, PEOPLE, IMAGES, 3, 5, 4), normal(1, PEOPLE, 4, 4, 4, 3)

    def everyone(lowering):
        function = functools.partial(layers.convolve_transpose, lowering=lowering)
        return output_and_gradients(jax.vmap(function), x, kernel)

    assert_close(everyone(lowering), everyone('library'))


def test_a_tpus_relu_has_the_librarys_values_and_gradients():
    x = jnp.array([-2.0, -0.0, 0.0, 1e-30, 3.0])

    def weighed(x, lowering):
        return jnp.vdot(layers.relu(x, lowering=lowering), jnp.arange(5.0) - 2)

    ours, theirs = (jax.value_and_grad(weighed)(x, how) for how in ('tpu', 'library'))
    chex.assert_trees_all_equal(ours, theirs)


def test_a_bias_is_added_to_a_map_that_came_in_blocks():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    plain = layers.Conv(3, use_bias=True, bias_init=jax.nn.initializers.normal())
    lying = plain.clone(lowering='tpu', inputs=Blocks(2, 2), outputs=Blocks(2, 2))
    variables = plain.init(jax.random.key(1), x)
    chex.assert_trees_all_close(
        lying.apply(variables, blocks.to_blocks(x, Blocks(2, 2))),
        plain.apply(variables, x),
        atol=1e-5,
    )


@pytest.mark.parametrize('function', [layers.convolve, layers.convolve_transpose])
def test_unknown_lowering_names_the_known_ones(function):
    with pytest.raises(ValueError, match=r"'winograde', expected one of 'library', 'matmul'"):
        function(normal(0, 1, 4, 4, 2), normal(1, 3, 3, 2, 2), lowering='winograde')


@pytest.mark.parametrize(
    'layer',
    [
        layers.Conv(4, kernel=4),
        layers.ConvTranspose(4, kernel=3),
        layers.ConvTranspose(4, stride=1),
    ],
)
def test_layers_refuse_sizes_they_do_not_pad_for(layer):
    with pytest.raises(ValueError, match='expected'):
        layer.init(jax.random.key(0), normal(0, 1, 4, 4, 2))


def test_lowering_does_not_change_parameters():
    x = normal(0, IMAGES, 6, 6, 3)
    for layer in (layers.Conv(4, 7, 2, use_bias=True), layers.ConvTranspose(4)):
        variables = layer.init(jax.random.key(0), x)
        assert_close(layer.clone(lowering='matmul').init(jax.random.key(0), x), variables)
        assert_close(layer.clone(lowering='matmul').apply(variables, x), layer.apply(variables, x))


def test_conv_starts_as_pytorchs_does_with_a_zero_bias_that_is_added():
    x = normal(0, IMAGES, 6, 6, 64)
    layer = layers.Conv(128, kernel=3, use_bias=True)
    params = layer.init(jax.random.key(0), x)['params']
    assert params['kernel'].shape == (3, 3, 64, 128) and not params['bias'].any()
    bound = 1 / np.sqrt(9 * 64)
    np.testing.assert_allclose(params['kernel'].std(), bound / np.sqrt(3), rtol=0.02)
    assert 0.99 * bound < abs(params['kernel']).max() <= bound
    raised = layer.apply({'params': params | {'bias': jnp.ones(128)}}, x)
    np.testing.assert_allclose(raised, layer.apply({'params': params}, x) + 1, atol=1e-5)


@pytest.mark.parametrize('lowering', layers.LOWERINGS)
@pytest.mark.parametrize('make', [layers.Conv, layers.ConvTranspose])
def test_bfloat16_compute_keeps_float32_parameters(make, lowering):
    x = normal(0, IMAGES, 6, 6, 32)
    layer = make(
        8, use_bias=True, lowering=lowering, dtype=jnp.bfloat16, kernel_init=layers.default_init
    )
    variables = layer.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype('float32')}
    gradient = jax.grad(lambda v: jnp.square(layer.apply(v, x).astype(jnp.float32)).sum())(
        variables
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype('float32')}
    y = layer.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    assert_close(y.astype(jnp.float32), layer.clone(dtype=None).apply(variables, x), relative=1e-2)


def batch_norm_in_numpy(x, scale, bias):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    count = x[..., 0].size
    y = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    return y, 0.1 * mean, 0.9 + 0.1 * var * count / (count - 1)


def batch_norm(x, **attributes):
    layer = layers.BatchNorm(use_running_average=False, **attributes)
    params = {'scale': normal(3, x.shape[-1]), 'bias': normal(4, x.shape[-1])}
    variables = layer.init(jax.random.key(0), x) | {'params': params}
    return layer, variables


def test_batch_norm_normalises_with_biased_and_remembers_unbiased_variance():
    x = 2 + 3 * normal(0, 2, 2, 2, 5)  # eight values: n / (n - 1) is far from one
    layer, variables = batch_norm(x)
    y, updated = layer.apply(variables, x, mutable=['batch_stats'])
    params = jax.tree.map(np.asarray, variables['params'])
    expected, mean, var = batch_norm_in_numpy(np.asarray(x), **params)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(updated['batch_stats']['mean'], mean, rtol=1e-5)
    np.testing.assert_allclose(updated['batch_stats']['var'], var, rtol=1e-5)


def test_batch_norm_starts_from_zero_mean_and_unit_variance_whatever_it_saw_at_init():
    layer = layers.BatchNorm(use_running_average=False)
    stats = layer.init(jax.random.key(0), 5 + normal(0, 2, 2, 2, 5))['batch_stats']
    assert not stats['mean'].any() and (stats['var'] == 1).all()


def test_batch_norm_over_an_axis_is_batch_norm_of_the_whole_batch():
    x = normal(0, 8, 3, 3, 5) + jnp.arange(8.0)[:, None, None, None]  # shards differ in mean
    layer, variables = batch_norm(x)
    sharded = layers.BatchNorm(use_running_average=False, axis_name='devices')

    def loss(apply, x):
        y, updated = apply(x)
        return (y.reshape(x.shape) * normal(5, *x.shape)).sum(), (y.reshape(x.shape), updated)

    def whole(x):
        return layer.apply(variables, x, mutable=['batch_stats'])

    def in_shards(x):
        def one(shard):
            return sharded.apply(variables, shard, mutable=['batch_stats'])

        y, updated = jax.vmap(one, axis_name='devices')(x.reshape(4, 2, *x.shape[1:]))
        return y, jax.tree.map(lambda leaf: leaf[0], updated)

    expected, actual = (
        jax.grad(functools.partial(loss, apply), has_aux=True)(x) for apply in (whole, in_shards)
    )
    assert_close(actual, expected)


class Normed(nn.Module):
    """A layer that mixes 6 channels into 13, and its norm, which a TPU makes one of."""

    lowering: str
    stride: int = 1
    dtype: Any = None
    axis_name: str | None = None
    train: bool = True

    @nn.compact
    def __call__(self, x):
        how = dict(lowering=self.lowering, dtype=self.dtype, name='conv')
        conv = layers.Conv(13, 1, self.stride, **how)
        norm = layers.BatchNorm(not self.train, axis_name=self.axis_name, name='norm')
        return conv(x, norm=norm)


def normed_and_gradients(layer, variables, x):
    """(statistics, result, gradients by all parameters and by x)."""

    def weighed(params, x):
        y, changed = layer.apply(variables | {'params': params}, x, mutable=['batch_stats'])
        return jnp.vdot(y.astype(jnp.float32), normal(9, *y.shape)), (changed, y)

    gradients, (changed, y) = jax.grad(weighed, (0, 1), has_aux=True)(variables['params'], x)
    return changed, y, gradients


def varied_normed(x, **options):
    layer = Normed('tpu', **options)
    return layer, jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.abs(normal(7, *leaf.shape)), layer.init(jax.random.key(0), x)
    )


@pytest.mark.parametrize('stride', [1, 2])
def test_a_norm_in_the_kernel_computes_and_learns_the_same(stride):
    x = 1 + 2 * normal(0, 3, 5, 4, 6)
    layer, variables = varied_normed(x, stride=stride)
    folded = normed_and_gradients(layer, variables, x)
    plain = normed_and_gradients(layer.clone(lowering='library'), variables, x)
    assert_close(folded, plain, 2e-5)


def test_a_norm_in_the_kernel_makes_no_map_before_it_is_normalised():
    x = normal(0, 3, 5, 4, 6)
    layer, variables = varied_normed(x)

    def multiplied(layer):
        apply = functools.partial(layer.apply, mutable=['batch_stats'])
        made = [e for e in jax.make_jaxpr(apply)(variables, x).eqns if e.primitive.name == 'mul']
        return [e for e in made if e.outvars[0].aval.shape == (3, 5, 4, 13)]

    assert multiplied(layer.clone(lowering='library')) and not multiplied(layer)


def test_a_norm_in_the_kernel_over_an_axis_is_that_of_the_whole_batch():
    x = normal(0, 8, 3, 3, 6) + jnp.arange(8.0)[:, None, None, None]  # shards differ in mean
    layer, variables = varied_normed(x)
    sharded = layer.clone(axis_name='devices')

    def one(shard):
        return sharded.apply(variables, shard, mutable=['batch_stats'])

    y, updated = jax.vmap(one, axis_name='devices')(x.reshape(4, 2, *x.shape[1:]))
    expected, changed = layer.apply(variables, x, mutable=['batch_stats'])
    assert_close(y.reshape(expected.shape), expected)
    assert_close(jax.tree.map(lambda leaf: leaf[0], updated), changed)


def test_a_norm_in_the_kernel_stays_close_in_bfloat16():
    x = 1 + 2 * normal(0, 4, 8, 8, 6)
    layer, variables = varied_normed(x, dtype=jnp.bfloat16)
    y, _ = layer.apply(variables, x, mutable=['batch_stats'])
    expected, _ = layer.clone(lowering='library', dtype=None).apply(
        variables, x, mutable=['batch_stats']
    )
    assert y.dtype == jnp.bfloat16
    assert_close(y.astype(jnp.float32), expected, 2e-2)


def test_stored_statistics_leave_the_kernel_alone():
    x = normal(0, 3, 5, 4, 6)
    layer, variables = varied_normed(x, train=False)
    expected = layer.clone(lowering='library').apply(variables, x)
    assert_close(layer.apply(variables, x), expected)


def test_a_norm_given_with_separable_maps_is_applied_to_the_result():
    maps = layers.SeparableMaps(normal(0, 3, 5, 6), normal(1, 3, 4, 6))
    product = maps.rows[:, :, None] * maps.columns[:, None]
    layer, variables = varied_normed(product)
    found, expected = (layer.apply(variables, x, mutable=['batch_stats']) for x in (maps, product))
    assert_close(found, expected, 2e-5)


def test_batch_norm_with_an_axis_initialises_outside_of_it():
    layer = layers.BatchNorm(use_running_average=False, axis_name='devices')
    variables = layer.init(jax.random.key(0), normal(0, 2, 2, 2, 5))
    assert variables['params']['scale'].shape == (5,)


@pytest.mark.parametrize('dtype, tolerance', [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
def test_batch_norm_in_evaluation_uses_stored_statistics_and_leaves_them(dtype, tolerance):
    x = normal(0, 2, 3, 3, 5)
    stats = {'mean': normal(1, 5), 'var': jnp.square(normal(2, 5)) + 0.1}
    params = {'scale': normal(3, 5), 'bias': normal(4, 5)}
    variables = {'params': params, 'batch_stats': stats}
    # Nothing is mutable here: an update would raise.
    y = layers.BatchNorm().apply(variables, x.astype(dtype), use_running_average=True)
    normalised = (x - stats['mean']) / np.sqrt(stats['var'] + 1e-5)
    expected = normalised * params['scale'] + params['bias']
    assert y.dtype == dtype
    assert_close(y.astype(jnp.float32), expected, tolerance)


def test_batch_norm_reduces_bfloat16_in_float32():
    """4096 values at 100 with a spread of 1: bfloat16 sums would miss the mean by several units."""
    x = (100 + normal(0, 4, 32, 32, 2)).astype(jnp.bfloat16)
    layer, variables = batch_norm(x, momentum=1.0)
    y, updated = layer.apply(variables, x, mutable=['batch_stats'])
    values = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16 and updated['batch_stats']['mean'].dtype == jnp.float32
    np.testing.assert_allclose(updated['batch_stats']['mean'], values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(
        updated['batch_stats']['var'], values.var((0, 1, 2), ddof=1), rtol=1e-3
    )


def test_batch_norm_sees_small_spreads_far_from_zero_once_it_knows_where():
    x = 3000 + normal(0, 4, 16, 16, 2)  # squares of 9,000,000 would leave no digit for variances
    layer, variables = batch_norm(x)
    variables['batch_stats']['mean'] += 2999
    y, _ = layer.apply(variables, x, mutable=['batch_stats'])
    params = jax.tree.map(np.asarray, variables['params'])
    expected, *_ = batch_norm_in_numpy(np.asarray(x, np.float64), **params)
    assert_close(y, expected.astype(np.float32), relative=2e-3)


def test_batch_norm_of_one_value_everywhere_is_its_bias():
    x = jnp.full((2, 4, 4, 3), 1234.5)
    layer, variables = batch_norm(x)
    y, updated = layer.apply(variables, x, mutable=['batch_stats'])
    assert_close(y, jnp.broadcast_to(variables['params']['bias'], y.shape), relative=1e-2)
    assert (updated['batch_stats']['var'] >= 0).all()


def test_batch_norm_takes_vectors_too():
    x = normal(0, 6, 3)
    norm = layers.BatchNorm(use_running_average=False)
    variables = norm.init(jax.random.key(0), x)
    found, _ = norm.apply(variables, x, mutable='batch_stats')
    assert_close(found, (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5))


def test_batch_norm_must_be_told_its_mode_once():
    with pytest.raises(ValueError, match='use_running_average'):
        layers.BatchNorm().init(jax.random.key(0), normal(0, 2, 2, 2, 5))


@pytest.mark.parametrize('weights', ['joint', 'private', 'alone'])
def test_what_suits_follows_the_devices_that_a_program_is_for(weights):
    on = functools.partial(layers.suited_lowering, weights)
    assert on(platform='tpu') == 'tpu'
    assert on(platform='cpu') in ('winograd', 'matmul', 'blocked')
    assert on(platform='gpu') in ('library', 'matmul')


LAYOUTS = [PLAIN, PAIR, Blocks(2, 2), Blocks(4, 4), Blocks(2, 1)]
LAYOUTS += [layout.shifted for layout in LAYOUTS[1:]]


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_map_comes_back_from_its_blocks(layout):
    x = normal(0, IMAGES, 4, 8, 3)
    y = blocks.to_blocks(x, layout)
    assert y.shape[-1] == 3 * layout.pixels
    np.testing.assert_array_equal(blocks.from_blocks(y, layout), x)
    np.testing.assert_array_equal(blocks.masked(y + 1, layout), jnp.where(y == 0, 0, y + 1))


@pytest.mark.parametrize(('k', 'stride', 'repeat'), [(1, 2, 1), (3, 1, 1), (3, 1, 2), (7, 2, 1)])
@pytest.mark.parametrize('inputs', LAYOUTS)
def test_blocks_of_pixels_are_convolved_as_the_pixels_are(inputs, k, stride, repeat):
    x, kernel = normal(0, IMAGES, 8, 16, 3), normal(1, k, k, 3, 4)
    same = Blocks(*(max(1, n * repeat // stride) for n in inputs[:2]))

    def plain(x, kernel):
        x = x.repeat(repeat, axis=1).repeat(repeat, axis=2)
        return strided('library', stride)(x, kernel)

    expected = output_and_gradients(plain, x, kernel)
    twice = Blocks(2 * same.rows, 2 * same.columns)
    for outputs in (same, twice.shifted):

        def in_blocks(x, kernel, outputs=outputs):
            how = dict(stride=stride, repeat=repeat)
            y = blocks.convolve(blocks.to_blocks(x, inputs), kernel, inputs, outputs, **how)
            return blocks.from_blocks(y, outputs)

        assert_close(output_and_gradients(in_blocks, x, kernel), expected)


def test_a_margin_is_zeros_that_are_there_already():
    x, kernel = normal(0, IMAGES, 8, 8, 3), normal(1, 7, 7, 3, 4)
    lies = Blocks(2, 2), Blocks(2, 2, 1)
    expected = blocks.convolve(blocks.to_blocks(x, lies[0]), kernel, *lies)
    found = blocks.convolve(blocks.to_blocks(x, lies[0], 1), kernel, *lies, margin=1)
    assert_close(found, expected)
    rows, columns = normal(2, IMAGES, 8, 3), normal(3, IMAGES, 8, 3)
    maps = blocks.of_profiles(rows, columns, lies[0])
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    assert_close(blocks.of_profiles(rows, columns, lies[0], 1), jnp.pad(maps, around))


def test_blocks_that_would_have_to_be_taken_apart_are_refused():
    x, kernel = normal(0, IMAGES, 4, 4, 3), normal(1, 3, 3, 3, 4)
    with pytest.raises(ValueError, match='blocks of 1 pixels cannot become blocks of 1 at stride'):
        blocks.convolve(x, kernel, PLAIN, PLAIN, repeat=2)


def test_maps_that_double_lie_in_blocks_that_double():
    assert blocks.doubling(32, times=3) == [PLAIN, PLAIN, PLAIN, Blocks(2, 2)]
    assert blocks.doubling(100, times=1) == [PLAIN, PLAIN]


def test_a_layer_between_shifted_blocks_reads_two_of_them():
    for layout in (PAIR, Blocks(2, 2), Blocks(4, 4)):
        for inputs, outputs in ((layout, layout.shifted), (layout.shifted, layout)):
            for before, after in zip(inputs.axes, outputs.axes, strict=True):
                placed = blocks.placed(before, after, 3, count=5)
                assert placed.blocks == (3 if after.pixels == 1 else 2)


def test_pairs_of_pixels_are_pooled_as_the_pixels_are():
    x = normal(0, IMAGES, 6, 8, 3)
    expected = output_and_gradients(lambda x: layers.max_pool(x, 2), x)
    found = output_and_gradients(lambda x: blocks.max_pool_pairs(blocks.to_blocks(x, PAIR)), x)
    assert_close(found, expected)


def test_blocks_are_as_large_as_lanes_and_the_map_allow():
    assert blocks.suited(3, 64, 64) == Blocks(2, 2)
    assert blocks.suited(32, 64, 64) == Blocks(2, 2)
    assert blocks.suited(64, 64, 64) == PAIR
    assert blocks.suited(128, 64, 64) == PLAIN
    assert blocks.suited(32, 5, 6) == PAIR
    assert layers.layout('winograd', 32, 64, 64) == PLAIN


def test_vgg_finds_the_same_on_a_tpu():
    rng = np.random.default_rng(0)
    weights = {
        name: jnp.float32(0.05 * rng.normal(size=shape))
        for name, shape in perceptual.vgg16_shapes().items()
    }
    images = normal(0, 1, 32, 32, 3)
    expected = perceptual.vgg16_features(weights, images)
    first, *others = perceptual.vgg16_features(weights, images, 'tpu')
    assert_close([blocks.from_blocks(first, PAIR), *others], expected)


def test_random_features_are_the_same_on_a_tpu():
    weights, images = perceptual.random_weights(0), normal(0, IMAGES, 16, 16, 3)
    expected = perceptual.random_features(weights, images)
    found = perceptual.random_features(weights, images, 'tpu')
    layouts = [blocks.suited(x.shape[-1], *x.shape[1:3]) for x in expected]
    assert_close([blocks.from_blocks(*pair) for pair in zip(found, layouts)], expected)


def test_blocks_of_profiles_are_their_outer_products():
    rows, columns = normal(0, IMAGES, 6, 3), normal(1, IMAGES, 4, 3)
    maps, layout = rows[:, :, None] * columns[:, None], Blocks(2, 4)
    assert_close(blocks.from_blocks(blocks.of_profiles(rows, columns, layout), layout), maps)


@pytest.mark.parametrize('layout', [Blocks(2, 2), Blocks(2, 2, 1), PAIR.shifted])
@pytest.mark.parametrize('train', [False, True])
def test_batch_norm_of_blocks_is_that_of_pixels(train, layout):
    x = normal(0, IMAGES, 4, 6, 3)
    norm = layers.BatchNorm(use_running_average=not train)
    variables = {
        'params': {'scale': normal(1, 3), 'bias': normal(2, 3)},
        'batch_stats': {'mean': normal(3, 3), 'var': jnp.square(normal(4, 3)) + 0.1},
    }
    expected, statistics = norm.apply(variables, x, mutable='batch_stats')
    y = blocks.to_blocks(x, layout)
    y = jnp.where(blocks.masked(jnp.ones_like(y), layout) > 0, y, 100.0)  # of no account
    found, moved = norm.clone(layout=layout).apply(variables, y, mutable='batch_stats')
    assert_close(blocks.from_blocks(found, layout), expected)
    assert_close(moved, statistics)
