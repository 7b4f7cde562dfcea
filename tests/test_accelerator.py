"""The compiler's expectations are read from its text, and shown as such."""

import json
import sys

import pytest

from experiments import accelerator, compiled_text

TEXT = """\
HloModule jit_apply, is_scheduled=true

%fused_computation.1 (p: f32[8,4]) -> f32[8,4] {
  ROOT %add.1 = f32[8,4]{1,0:T(8,128)} add(%p, %p), metadata={op_name="jit(apply)/crop/add"}
}

ENTRY %main {
  %fusion.1 = f32[8,4]{1,0:T(8,128)S(1)} fusion(%p.1), kind=kLoop, calls=%fused_computation.1, \
metadata={op_name="jit(apply)/while/body/vmap(crop)/add" stack_frame_id=5}, \
backend_config={"window_config":{"estimated_cycles":"1500","iteration_bounds":["1"]}}
  %fusion.2 = bf16[8,4]{1,0:T(8,128)} fusion(%p.2), kind=kOutput, calls=%fused_computation.2, \
metadata={op_name="jit(apply)/transpose(jvp(PoseModel.reconstruct))/renderer/conv1_0/conv"}, \
backend_config={"window_config":{"estimated_cycles":"40000"}}
  %fusion.3 = bf16[8,4]{1,0:T(8,128)} fusion(%p.2), kind=kOutput, calls=%fused_computation.2, \
metadata={op_name="jit(apply)/jvp(PoseModel.self_supervised_heatmaps)/encoder/resnet/conv1/conv"}, \
backend_config={"window_config":{"estimated_cycles":"20000"}}
  %fusion.4 = bf16[8,4]{1,0:T(8,128)} fusion(%p.2), kind=kOutput, calls=%fused_computation.2, \
metadata={op_name="jit(apply)/jvp(PoseModel.self_supervised_heatmaps)/encoder/deconv0/conv"}, \
backend_config={"window_config":{"estimated_cycles":"3000"}}
  %copy.1 = s32[]{:T(128)} copy(%p.3), backend_config={"window_config":{"estimated_cycles":"500"}}
  %all-reduce.1 = (f32[3,3,4,8]{3,2,1,0:T(8,128)}, bf16[8]{0:T(256)}) all-reduce(%a, %b), \
replica_groups={{0,1}}, to_apply=%add, backend_config={"window_config":{"estimated_cycles":"0"}}
  %all-reduce.2 = f32[]{:T(128)} all-reduce(%c), replica_groups={{0,1}}, to_apply=%add
  %all-gather-start.1 = (u8[2]{0}, u8[4]{0}) all-gather-start(%d), dimensions={0}
  %all-gather-done.1 = u8[4]{0} all-gather-done(%all-gather-start.1)
  ROOT %all-reduce-user = f32[8,4]{1,0} add(%all-reduce.1, %fusion.1)
}
"""


def test_cycles_are_summed_by_the_innermost_part_that_a_path_names():
    parts = ('crop', 'encoder', 'resnet', 'renderer', 'pose_encoder')
    expected = {'renderer': 40000, 'resnet': 20000, 'encoder': 3000, 'crop': 1500, 'other': 500}
    found = compiled_text.cycles_by_part(TEXT, parts)
    assert list(found.items()) == list(expected.items())  # the most first


LOOP = """\
%condition.1 (arg: (s32[], f32[8])) -> pred[] {
  %constant.1 = s32[]{:T(128)} constant(8)
  %arg = (s32[], f32[8]) parameter(0)
  %gte = s32[] get-tuple-element(%arg), index=0
  ROOT %lt = pred[] compare(%gte, %constant.1), direction=LT
}

%inner.1 (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %fusion.5 = f32[8] fusion(%x), kind=kLoop, metadata={op_name="jit(f)/while/body/crop/add"}, \
backend_config={"window_config":{"estimated_cycles":"10"}}
}

%body.1 (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %while.2 = (s32[], f32[8]) while(%tuple), condition=%condition.1, body=%inner.1
}

ENTRY %main.1 (p: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]) while(%tuple), condition=%condition.1, body=%body.1
  %fusion.6 = f32[8] fusion(%x), kind=kLoop, metadata={op_name="jit(f)/renderer/add"}, \
backend_config={"window_config":{"estimated_cycles":"3"}}
}
"""


def test_what_lies_in_loops_counts_as_often_as_it_runs():
    found = compiled_text.cycles_by_part(LOOP, ('crop', 'renderer'))
    assert found == {'crop': 8 * 8 * 10, 'renderer': 3}


SILENT = """\
%region_0.1 (a: bf16[], b: bf16[]) -> bf16[] {
  ROOT %add.1 = bf16[] add(%a, %b)
}

%body.1 (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %x.1 = (s32[], f32[8]) parameter(0)
  %s.1 = bf16[2,4]{1,0:T(8,128)} select-and-scatter(%x, %y), select=%region_0.1, scatter=%region_0.1
  %reshape.1 = (f32[8]{0}, bf16[8]{0}) reshape(%x)
  %copy-start.1 = (f32[8]{0}, f32[8]{0}, u32[]) copy-start(%x)
  %fusion.1 = f32[8] fusion(%x), calls=%body.2, backend_config={"estimated_cycles":"3"}
}

%condition.1 (arg: (s32[], f32[8])) -> pred[] {
  %limit.1 = s32[]{:T(128)} constant(8)
}

ENTRY %main.1 (p: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]) while(%tuple), condition=%condition.1, body=%body.1
  ROOT %reshape.2 = f32[8]{0} reshape(%x)
  %all-reduce.1 = f32[]{:T(128)} all-reduce(%c), replica_groups={{0,1}}, to_apply=%region_0.1
}
"""


def test_what_the_compiler_expects_nothing_of_is_told_by_kind():
    expected = {'reshape': 8 * (32 + 16) + 32, 'select-and-scatter': 8 * 16}
    assert list(compiled_text.unestimated(SILENT).items()) == list(expected.items())


def test_collectives_are_counted_by_kind_with_the_bytes_of_their_results():
    assert compiled_text.collectives(TEXT) == {
        'all-reduce': (2, 3 * 3 * 4 * 8 * 4 + 8 * 2 + 4),
        'all-gather': (1, 4),
    }
    assert compiled_text.collectives('%x = f32[8]{0} add(%all-reduce.1, %y)') == {}


def row(**changes):
    """A row as a compilation gives it; a million cycles of a v5e at a tenth of its peak."""
    setting = accelerator.Setting('small', 'personalization', people=4)
    peak = accelerator.CHIPS['v5e'].flops_per_cycle * 1e6
    return {
        **accelerator.dataclasses.asdict(setting),
        'name': setting.name,
        'cycles': 1_000_000,
        'cycles_by_part': {'resnet': 750_000, 'crops': 250_000},
        'flops': peak / 10,
        'temporary_bytes': 6e9,
        'argument_bytes': 2.5e9,
        'held_bytes': 8.5e9,
        'shared_bytes': 0.5e9,
        'collectives': {},
        'compile_seconds': 75.0,
    } | changes


def cells(text, heading):
    """The column under a heading, of the table's rows."""
    table = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('|')]
    column = table[0].index(heading)
    return [line[column] for line in table[2:] if len(line) == len(table[0])]


def test_the_table_says_that_it_is_estimated_and_what_follows_from_the_estimate():
    text = accelerator.table([row(), row(people=2, chips=16, collectives=one_reduction())])
    assert text.splitlines()[0] == 'Estimated by the compiler, not measured:'
    assert cells(text, 'of peak') == ['10.0%'] * 2
    assert cells(text, '... each') == ['0.25', '0.50']
    assert cells(text, 'fit') == ['7', '3']  # 15.5 GB for people of 2 GB, and of 4 GB
    assert cells(text, 'collectives') == ['0', '3 all-reduce, 12.0 MB']


def test_a_step_that_people_take_in_turn_is_held_once():
    text = accelerator.table([row(in_turn=True)])
    assert cells(text, 'fit') == ['19']  # (16 - 0.5 - 6) GB for people of half a GB


def test_what_chips_send_each_other_takes_its_bytes_and_its_way():
    alone = row(chips=1, collectives=one_reduction())
    assert accelerator.seconds_on_the_way(row(chips=256)) == 0
    bytes_alone = 2 * 12e6 * 255 / 256 / accelerator.CHIPS['v5e'].links
    over_all = accelerator.seconds_on_the_way(alone | {'chips': 256})
    assert over_all == pytest.approx(bytes_alone + 3 * 32e-6)  # 16 hops along each axis
    text = accelerator.table([row(), alone | {'chips': 256}])
    assert cells(text[text.index('| over several chips') :], 'ms computing') == ['0.67']


def one_reduction():
    return {'all-reduce': {'times': 3, 'bytes': 12_000_000}}


def test_cycles_stand_under_the_headings_of_the_parts():
    found = accelerator.by_heading(
        {'resnet': 5, 'affinity_transformer': 2, 'self_supervised_head': 4}
    )
    assert found == {'heads': 6, 'resnet': 5}


def test_a_new_row_takes_the_place_of_an_old_one_and_others_stay():
    old = [row(name='of another version'), row()]
    found = accelerator.merged(old, [row(cycles=2)])
    assert [r['name'] for r in found] == [row()['name'], 'of another version']
    assert found[0]['cycles'] == 2


def test_names_of_rows_are_unique_and_choose_them():
    everything = accelerator.settings()
    assert len({setting.name for setting in everything}) == len(everything)
    assert accelerator.chosen('small .*matmul') == [
        s for s in everything if s.size == 'small' and s.lowering == 'matmul'
    ]


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(accelerator.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'argv', ['accelerator', '--rows=small joint 1 x .*'])
    with pytest.raises(SystemExit, match=r"no TPU compiler here: pip install -e '.\[tpu\]'"):
        accelerator.main()


def test_rows_of_a_file_are_shown_without_a_compiler(monkeypatch, tmp_path, capsys):
    file = tmp_path / 'rows.json'
    file.write_text(json.dumps([row()]))
    monkeypatch.setattr(accelerator.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'argv', ['accelerator', '--rows=', f'--json={file}'])
    accelerator.main()
    assert cells(capsys.readouterr().out, 'M cycles') == ['1.0']


def test_a_row_that_failed_says_why():
    assert accelerator.why('', 3) == 'ended with status 3'
    assert accelerator.why('Traceback\nValueError: no such chip', 1) == 'ValueError: no such chip'
    crash = 'Check failed: a == b\nRAW: Raising signal 6'
    assert accelerator.why(crash, -6) == 'Check failed: a == b'
