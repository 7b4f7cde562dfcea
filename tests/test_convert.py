"""PyTorch's files in and out: names, layouts, formats, and what happens to bad ones."""

import base64
import collections
import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile
import zlib

import jax
import numpy as np
import optax
import pytest
import safetensors.numpy

from ttp_jax import convert, train
from ttp_jax.files import checkpoint, torch_files
from ttp_jax.networks import perceptual
from ttp_jax.networks.model import PoseModel

MODEL = PoseModel(depth=18)


def filled(model, seed=0):
    """Variables of `model` that are all different numbers, without initialising it."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: rng.standard_normal(x.shape, np.float32),
        jax.eval_shape(model.init, jax.random.key(0), image, image),
    )


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def fresh_state(model):
    """Zeros in the shape that the main program restores into."""
    net = perceptual.Perceptual(None, {}, 5, perceptual.VGG16_MEANS)
    shapes = jax.eval_shape(
        lambda: train.initial_state(
            jax.random.key(0), model=model, tx=optax.identity(), perceptual=net, size=64
        )
    )
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def resnet(depth, *, classes=10):
    """torchvision's ResNet: the names are the encoder's without prefix, and a classifier."""
    variables = filled(PoseModel(variant='baseline', depth=depth))
    parts = {
        part: {'encoder': {'resnet': tree['encoder']['resnet']}} for part, tree in variables.items()
    }
    classifier = {
        'fc.weight': np.zeros((classes, 512 if depth < 50 else 2048), np.float32),
        'fc.bias': np.zeros(classes, np.float32),
    }
    return parts, convert.to_release(parts) | classifier


@pytest.fixture(scope='module')
def variables():
    return filled(MODEL)


@pytest.fixture(scope='module')
def tensors(variables):
    return convert.to_release(variables, batches=7)


@pytest.fixture(scope='module')
def release_file(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp('release') / 'model_best.pth'
    torch_files.write(path, tensors)
    return path


@pytest.fixture(scope='module')
def workdir(release_file):
    convert.convert(release_file, release_file.parent / 'converted')
    return release_file.parent / 'converted'


# --- names and layouts -----------------------------------------------------------------------


@pytest.mark.parametrize('depth', [18, 50])
def test_names_and_shapes_are_the_release_s(parity_dir, depth):
    expected = json.loads((parity_dir / f'joint_resnet{depth}.names.json').read_text())
    found = convert.to_release(filled(PoseModel(depth=depth)))
    assert {name: list(value.shape) for name, value in found.items()} == expected


@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'depth': 50, 'keypoints': 20, 'joints': 7},
        {'variant': 'shared_keypoint'},
        {'variant': 'baseline', 'depth': 34, 'joints': 16},
        {'features': 128, 'feedforward': 512, 'deconvolutions': 2},
    ],
)
def test_variables_survive_there_and_back(fields):
    model = PoseModel(**({'depth': 18} | fields))
    expected = filled(model)
    found, settings = convert.from_release(convert.to_release(expected))
    assert_same(dict(jax.tree.leaves_with_path(found)), dict(jax.tree.leaves_with_path(expected)))
    assert {name: settings[name] for name in fields} == fields


def test_layouts():
    """An array of ours whose axes all differ, in PyTorch's layout."""
    kernel = np.arange(3 * 3 * 4 * 5, dtype=np.float32).reshape(3, 3, 4, 5)
    theirs = convert.to_torch('params/renderer/image/kernel', kernel)
    assert theirs[2, 1, 0, 1] == kernel[0, 1, 1, 2]
    kernel = np.arange(4 * 4 * 2 * 3, dtype=np.float32).reshape(4, 4, 2, 3)
    theirs = convert.to_torch('params/encoder/deconv0/kernel', kernel)
    assert theirs[1, 2, 3, 0] == kernel[3, 0, 1, 2]
    query = np.arange(8 * 2 * 4, dtype=np.float32).reshape(8, 2, 4)
    path = 'params/affinity_transformer/decoder/self_attention/query/kernel'
    assert convert.to_torch(path, query)[6, 3] == query[3, 1, 2]


def test_attention_projections_are_stacked_in_order(variables, tensors):
    attention = variables['params']['affinity_transformer']['decoder']['cross_attention']
    stacked = tensors['pose_net.mh_attn.decoder.layers.0.multihead_attn.in_proj_bias']
    for part, name in zip(np.split(stacked, 3), ('query', 'key', 'value')):
        np.testing.assert_array_equal(part, attention[name]['bias'].ravel())


def test_rotation_head_has_no_place_in_release():
    variables = {'params': {'rotation_head': {'bias': np.zeros(4)}}, 'batch_stats': {}}
    with pytest.raises(ValueError, match='rotation_head/bias: .* no such parameter'):
        convert.to_release(variables)


# --- bad tensors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('pose_net.layer2.0.bn1.running_var', None, 'missing: pose_net.layer2.0.bn1.running_var'),
        ('pose_net.conv1.weight', None, 'missing: pose_net.conv1.weight'),
        ('pose_net.final_layer.weight', np.zeros(3), 'surplus: pose_net.final_layer.weight'),
        (
            'image_renderer.layer4.6.bias',
            np.zeros(4),
            r'misshapen: image_renderer.layer4.6.bias \(4,\) \(expected \(3,\)\)',
        ),
        (
            'pose_net.final_layer_unsup.weight',
            np.zeros((29, 256, 1, 1)),
            r'misshapen: pose_net.final_layer_unsup.weight \(29, 256, 1, 1\) \(expected \(30,',
        ),
    ],
)
def test_bad_tensor_is_named(tensors, name, value, message):
    bad = {**tensors, name: value}
    with pytest.raises(ValueError, match=f'^{message}'):
        convert.from_release({k: v for k, v in bad.items() if v is not None})


def test_counters_may_be_missing(tensors, variables):
    """Files from before PyTorch 0.4.1 have none."""
    old = {k: v for k, v in tensors.items() if not k.endswith('num_batches_tracked')}
    found, _ = convert.from_release(old)
    assert_same(convert.to_release(found, batches=7), convert.to_release(variables, batches=7))


def test_surplus_block_is_no_resnet(tensors):
    bad = tensors | {'pose_net.layer4.2.conv1.weight': np.zeros((512, 512, 3, 3))}
    with pytest.raises(ValueError, match=r'no ResNet has \(2, 2, 2, 3\) basic blocks'):
        convert.from_release(bad)


# --- the main program's checkpoints ----------------------------------------------------------


def test_checkpoint_is_taken_by_main_program(workdir, variables):
    state = checkpoint.load_model(str(workdir), fresh_state(MODEL))
    jax.tree.map(np.testing.assert_array_equal, state.params, variables['params'])
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, variables['batch_stats'])
    np.testing.assert_allclose(state.loss_means, perceptual.VGG16_MEANS)


def test_config_beside_checkpoint(workdir):
    config = json.loads((workdir / 'config.json').read_text())
    assert config.keys() == {'crop', 'model', 'perceptual'}
    assert config['crop'] == {'bgr': True} and config['perceptual'] == {'kind': 'vgg16'}
    assert PoseModel(**config['model']) == MODEL


def test_back_to_release(workdir, tensors, tmp_path):
    convert.convert(workdir, tmp_path / 'back.pth')
    assert_same(torch_files.read(tmp_path / 'back.pth'), tensors)


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'width': 24}, "model.width is 24, the release's is always 64"),
        ({'feedforward': 256}, "model.feedforward is 256, the release's is always 1024"),
    ],
)
def test_model_that_release_has_not(fields, message, tmp_path):
    variables = filled(PoseModel(**({'depth': 18, 'width': 64} | fields)))
    state = train.TrainState(np.int32(3), variables['params'], variables['batch_stats'], (), ())
    checkpoints = checkpoint.Checkpoints(tmp_path / 'run' / 'checkpoints')
    checkpoints.save(state)
    checkpoints.wait()
    with pytest.raises(ValueError, match=f'run: the release cannot load this model: {message}'):
        convert.convert(tmp_path / 'run', tmp_path / 'back.pth')
    assert os.listdir(tmp_path) == ['run']


def test_encoder_alone_is_no_model_of_release(tmp_path):
    torch_files.write(tmp_path / 'resnet.pth', resnet(18)[1])
    convert.convert(tmp_path / 'resnet.pth', tmp_path / 'encoder')
    with pytest.raises(ValueError, match='encoder: the release cannot .* missing: .*final_layer'):
        convert.convert(tmp_path / 'encoder', tmp_path / 'back.pth')


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvision_encoder(depth, tmp_path):
    parts, tensors = resnet(depth)
    safetensors.numpy.save_file(tensors, tmp_path / 'resnet.safetensors')
    said = convert.convert(tmp_path / 'resnet.safetensors', tmp_path / 'encoder')
    assert f'ResNet-{depth}' in said
    before = fresh_state(PoseModel(depth=depth, joints=5, keypoints=6))
    for name in ('encoder', 'resnet.safetensors'):
        after = convert.load_encoder(str(tmp_path / name), before)
        for part, tree in parts.items():
            found = getattr(after, part)
            jax.tree.map(
                np.testing.assert_array_equal, found['encoder']['resnet'], tree['encoder']['resnet']
            )
            del found['encoder']['resnet']
            assert not any(np.any(x) for x in jax.tree.leaves(found))
    config = json.loads((tmp_path / 'encoder' / 'config.json').read_text())
    assert config == {
        'crop': {'bgr': False},
        'model': {'depth': depth, 'stages': 4, 'width': 64, 'stem_pool': True},
    }


def test_an_encoder_of_fewer_stages_takes_those_it_has(tmp_path):
    parts, tensors = resnet(18)
    torch_files.write(tmp_path / 'resnet.pth', tensors)
    before = fresh_state(PoseModel(depth=18, stages=3, joints=5, keypoints=6))
    after = convert.load_encoder(str(tmp_path / 'resnet.pth'), before)
    found = after.params['encoder']['resnet']
    assert 'layer3_1' in found and 'layer4_0' not in found
    jax.tree.map(
        np.testing.assert_array_equal,
        found,
        {name: parts['params']['encoder']['resnet'][name] for name in found},
    )


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'depth': 34},
            'a ResNet-18 of width 64, but the encoder is a ResNet-34 of width 64; set '
            '--config.model.depth=18 --config.model.width=64',
        ),
        ({'width': 24}, 'a ResNet-18 of width 64, but the encoder is a ResNet-18 of width 24; set'),
    ],
)
def test_encoder_of_another_size(change, message, tmp_path):
    torch_files.write(tmp_path / 'resnet.pth', resnet(18)[1])
    with pytest.raises(ValueError, match=f'^{tmp_path}/resnet.pth: {message}'):
        convert.load_encoder(
            tmp_path / 'resnet.pth', fresh_state(PoseModel(**{'depth': 18} | change))
        )


def test_file_of_no_encoder(release_file, tmp_path):
    state, tensors = fresh_state(MODEL), resnet(18)[1]
    with pytest.raises(ValueError, match="model_best.pth: a foreign .*not torchvision's ResNet$"):
        convert.load_encoder(release_file, state)
    torch_files.write(tmp_path / 'a.pth', tensors | {'conv1.weight': np.zeros((64, 4, 7, 7), 'f')})
    with pytest.raises(ValueError, match=r'a.pth: misshapen: conv1.weight \(64, 4, 7, 7\) \(expe'):
        convert.load_encoder(tmp_path / 'a.pth', state)


def test_vgg16(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {'classifier.0.bias': np.zeros(3, np.float32)}
    for name, shape in perceptual.vgg16_shapes().items():
        shape = (shape[3], shape[2], 3, 3) if len(shape) == 4 else shape
        tensors[name] = rng.standard_normal(shape, np.float32)
    torch_files.write(tmp_path / 'vgg16.pth', tensors)
    convert.convert(tmp_path / 'vgg16.pth', tmp_path / 'vgg16.npz')
    net = perceptual.load('vgg16', weights=str(tmp_path / 'vgg16.npz'))
    kernel = tensors['features.10.weight']
    np.testing.assert_array_equal(net.weights['features.10.weight'], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(net.weights['features.26.bias'], tensors['features.26.bias'])


# --- files -----------------------------------------------------------------------------------

# A training checkpoint as PyTorch 2.13 saves it, in both of its formats: epoch, state_dict with
# 'module.' before its names and views of one storage, a numpy score, an optimiser's state.
ZIP = (
    b'c-qZY+i%-c7(cl*P2H}Sb*!vF8H`KHw$!;b>DD!E80na|E)5r1laS>&Cy6yD&S#%=>!e7PpecLfFF<?T{s6Q`D)EK@'
    b'i3x#_ctGL-At6mXfe;d$W4Ed8(w40+9OcBhoZsaff8Q@D2!S9%;V{}YhS5<Z8%j-G!Bb_K$kFBvEuR}i*Ii@H-v$&B'
    b'dnf=mb)^PAAs}+}ok?VZrLw9J@GFY0X;>ku-Y~gqMj0Epe35>`L13~7!H9T-0_u9XrQzsJtX69TdK98l@u<`ys%CPM'
    b'flDn_D@z17Ox=)H;v9q`5wX`&(ha$aq1T3Rc}<teTlR+>ghd}+!$Y4KpjV~Y0!|np(7!AoAt(eoFd+DZU<Z!esWCHy'
    b'1cr(*EcWj>DygywBQ+{l>#c=reKm{V=rV-|*I`uft-~=J{1k!XMHq8}YqC~>r)}_-zf1I^uDuhMy%>yBRzHDfm@WT0'
    b'Jj+<0vsotyJYR&9;()`FA*&5|!9|<1_8pt<Qom?X$KjMs{n8fo%Z&OJoBCA(ks?fr<2%%iR$VH|M5$p@B8IHoz-4&N'
    b'C3Hn^RJ$UlEs+GAp&~v4XQ{~Kq)i?rFjWM;CDH;zO>9&krcn0gYE)8m14rvEji|C=$g7;G$eL_$5Vsd_WwP3&<O$JF'
    b'p_L3I?|ircsUl2AXmv5cSx7G}EnWVb4(mxk1TrOs5|^=Ja=5`>a4;kGb?f=FyID9VhUhCzCTb%F=Q}W4gbN**D?-*<'
    b's5gmPS8rnj=G(AfSG85gkZZ&10&2rWtK#sjrX;Ua;f?L0uskIpZ<od*JLv!`s!Oy+d>wexK9I`<gd$uqP3u-RWkaq@'
    b'RYPwzO}P3VEVbcU#M-cCKw&XkC|!N{+x@>R6D3S&4K6QcfBk}uFBh|qe*fzG;~S?tP;AMqR<t1WhAZjOKR0NRvsu`)'
    b't;bNZ+t$&FZq#KWtzg5Xy_wJPp6)()#F+AfM?bvJPJqq5mB&$fM|rDhC0SFejXG|Sd@k|W;&e<WnStz0_=TOEe_sP5'
    b'DBCqqS|wO#NtDl>e-hp8p{ayun0Z*g@Y4xaU7>wF45B$#s!s9w+_^&-uvyo#^l6?x=v<@oE}ffn{zxZUpjl4mNjmuj'
    b'=JZy(GRLz}JizHOx6@cYH@wR!%Aifg`N4hhBi84^132g1obh~a_AtkPeKR|6>H8;6jXr^X;;{O?Tg=Qu^V^?wCK^7#'
    b'!>rpwGM~$!|KI%|LZe-u-GCVK8clGF@#~MP?;PBJ6DYnD0M^z`Y^XE=Zp-Yifuxr6x#(k_1ka~Zu^B#=NhRWZA~nOO'
    b'Gig2+i^XS>sbnghNb>14pH5jZ75L=d=Mm~7V!8A&vt6Ig@EqRd-1|Ssi*^R!m<#z`0PPjGUJ_@Bjk`#egJ_@R^zt}^'
    b'XvD?y(81FUKrh@`9fL0TyFJL0U0$p+1>9KX#+@c!th0mN*tfmdxEJf}JU8|mFE;Vt_sf3k-JR;iI_rMOz27kMc8?eA'
    b'EXN5Kw&(!=d!rPDQ0UBdTLsQ`k^P?Qr+)kTM|eA?LRMlu*jix!V)uk>Oux0>Ui%OI;?2G'
)
LEGACY = (
    b'c-ozl&vV;E6vt)RiK&{F@T<`BD?kB<f^qEBPN3kVl%%a1H&HLTbTn&eV+mwQ-_<G*W;~Ni+?KzALyz!ZWQJ?uz>OQ%'
    b'&UA+9sl!ZX;7M|Rflut{J*`%|@AG!|`*zgtHUH@kD}T*=_2c^4>W;ehut<IYrD9GiiV}%XhIZ&%TU^9m7@$BC%v1Eo'
    b'_oVc>#RJD<0o1#uMuT!Y;#TZ^$72)+C{@e}8jRggNKELeS)?y7keJj<W+{yk20fJZQj+X5)A>9KZ5IW-n1zfbliYGV'
    b'TSB!d6QA3X5{b2&!r_8DSLlz1;;fP4(!~0qllZ*)4flF3VQm=-+pSuO^!!+}1n(xE?^u!taVV^<x`xS0#Vlu}P_Q0H'
    b'IbWi!_#u<G@<9#Hn5SvZ;(Wc?Xw>Ix<QAJak!{J25@`BVN8;p$uIMGbIK-4*&`U#{y62{;otAjkz_fYtFu$(HVm#*('
    b'+%3CfgFo-)L0{OQkfmL`s26teQXcS(#LEU=IU3Mq{wB`m0Y^KyN<#-5ICsdXH(D24^;W%xSBaq#<Fzz#br-Lvj5l(|'
    b'n-Vhy-ZH0-BrTX1;O%3O%h@^2H4i}V90N5M=Nio#&W}LvjzI6Fp!ai7MS}bX=D9;qko2uCleWuaOA2Ox%^h4ghP^@B'
    b'IY55+FJ!$|tKlO;76@4-<m_yY`dFf7U@pnz7jdzPx=pNTyK32?;MIQOOOFY`wzb%1J`)-m`2@{L#jRo9RB7qv0xsUW'
    b'dk0MetqLi%Kx3D%(CKup|4l7(x+1aIwJET}?O5YM+R^Zdc|zH5Ki_ZTQ*$yc1tz^<4wr`b%)sYEv<)m}6T?V)eX1yd'
    b'<pC~_Dk`lBd@;ZkT^ZoZOuhWu$YNVPto&C}`H{35O{|V2bv3<(Vk*#Uq^-gb*Yo4iC2km4i{tFlBPLki>WMIkVsvif'
    b'<^b!JZ2P{z#%g=LyY}1TpPptZb-5%x8>{U{57PF_YWvS8zy5ya&V?avB`hoO+i8K1(O_YmUes|nS{%2h(zx20;8k`1'
    b'kQbD_{r+BiX|FKqmq+g@<!IY!lUt&PY=`VV*&f*+WXiIlOq0!!)t3M7x_<zNw03L'
)
CONTENT = {
    'weight': np.arange(12, dtype=np.float32).reshape(3, 4).T,
    'bias': np.arange(4, 8, dtype=np.float32),
    'half': np.array([0.5, -2], np.float16),
    'brain': np.array([1.5, -3], np.float32),
    'num_batches_tracked': np.array(7),
}


def unpacked(text):
    return zlib.decompress(base64.b85decode(text))


@pytest.mark.parametrize('text', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_training_checkpoint_of_pytorch(text, tmp_path):
    path = tmp_path / 'checkpoint.pth'
    path.write_bytes(unpacked(text))
    assert_same(torch_files.read(path), CONTENT)


@pytest.mark.parametrize('text', [ZIP, LEGACY], ids=['zip', 'legacy'])
def test_every_truncation_is_an_error(text, tmp_path):
    whole, path = unpacked(text), tmp_path / 'checkpoint.pth'
    for size in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r'checkpoint.pth: truncated or damaged \('):
            torch_files.read(path)


def test_written_file_is_read_by_pytorch(tensors, release_file):
    torch = pytest.importorskip('torch')
    found = torch.load(release_file, weights_only=True)
    assert isinstance(found, collections.OrderedDict)
    assert_same({name: value.numpy() for name, value in found.items()}, tensors)
    assert found['pose_net.bn1.num_batches_tracked'].dtype == torch.int64


class Intruder:
    """Unpickles by calling something."""

    def __reduce__(self):
        return os.mkdir, ('intruded',)


def zipped(path, content):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', content)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zipped('evil.pth', pickle.dumps({'weight': Intruder()}, 2))
    with pytest.raises(ValueError, match=r'evil.pth: a foreign file.* \w+.mkdir, which is refused'):
        torch_files.read('evil.pth')
    assert os.listdir() == ['evil.pth']


def reaching(offset, shape, strides):
    """The data.pkl of one tensor whose view of a storage of four numbers is made up."""
    written = torch_files._pickled({'weight': np.zeros(4, np.float32)})
    view = [pickle.dumps(x, 2)[2:-1] for x in (0, (4,), (1,))]
    wanted = [pickle.dumps(x, 2)[2:-1] for x in (offset, shape, strides)]
    assert b''.join(view) in written
    return written.replace(b''.join(view), b''.join(wanted))


@pytest.mark.parametrize(
    'view',
    [
        (1, (4,), (1,)),
        (-1, (4,), (1,)),
        (0, (3, 2), (2, 1)),
        (3, (2,), (-1,)),
        (0, (4,), (1 << 40,)),
    ],
)
def test_tensor_outside_of_its_storage(view, tmp_path):
    zipped(tmp_path / 'a.pth', reaching(*view))
    with zipfile.ZipFile(tmp_path / 'a.pth', 'a') as archive:
        archive.writestr('archive/data/0', np.zeros(4, np.float32).tobytes())
    with pytest.raises(ValueError, match='reaches outside of storage 0'):
        torch_files.read(tmp_path / 'a.pth')


def text_file(path):
    path.write_text('not weights at all, but long enough to have a header')


def numpy_file(path):
    with path.open('wb') as file:
        np.savez(file, weight=np.zeros(3))


def other_model(path):
    torch_files.write(path, {'blocks.0.attn.qkv.weight': np.zeros((3, 3), np.float32)})


@pytest.mark.parametrize(
    'make, message',
    [
        (text_file, "a foreign file, not a state dict: neither PyTorch's .pth nor safetensors"),
        (numpy_file, 'a foreign file, not a state dict: a zip archive without data.pkl'),
        (
            other_model,
            'a foreign state dict, neither .* 1 tensors such as blocks.0.attn.qkv.weight',
        ),
        (lambda path: None, 'no such file'),
    ],
)
def test_foreign_file_leaves_nothing(make, message, tmp_path):
    source = tmp_path / 'a.pth'
    make(source)
    before = os.listdir(tmp_path)
    with pytest.raises(ValueError, match=f'a.pth: {message}'):
        convert.convert(source, tmp_path / 'out')
    assert os.listdir(tmp_path) == before


def test_interrupted_writing_leaves_nothing(release_file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr(checkpoint.Checkpoints, 'wait', full)
    with pytest.raises(OSError, match='no space left'):
        convert.convert(release_file, tmp_path / 'out')
    assert os.listdir(tmp_path) == []


def test_existing_target_is_kept(release_file, tmp_path):
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(ValueError, match='out: exists already'):
        convert.convert(release_file, tmp_path / 'out')
    assert (tmp_path / 'out').read_text() == 'mine'


def test_command_line(tmp_path):
    root = pathlib.Path(convert.__file__).parents[1]
    source, target = tmp_path / 'none.pth', tmp_path / 'out'
    done = subprocess.run(
        [sys.executable, '-m', 'ttp_jax.convert', source, target],
        cwd=root,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f'error: {source}: no such file'
