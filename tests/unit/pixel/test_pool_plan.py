"""pixel/pool.py: a plan to transcode is made by a worker, and comes back."""

from filmroom.dicom import uids
from filmroom.pixel import transcode
from filmroom.pixel.pool import Pool
from instances import a_data_set, part10


async def test_a_plan_comes_back_from_a_worker():
    ds = a_data_set()
    del ds.PixelData
    file = part10(ds)
    header = file[144 + int.from_bytes(file[140:144], "little") :]
    pool = Pool(1)
    try:
        made = await pool.run(
            transcode.plan, header, uids.EXPLICIT_VR_LE, uids.IMPLICIT_VR_LE, frames=1
        )
    finally:
        pool.close()
    assert made == transcode.plan(header, uids.EXPLICIT_VR_LE, uids.IMPLICIT_VR_LE, frames=1)
