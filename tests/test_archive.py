"Archives that outgrow a machine: an S3 server that runs here."
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.samples import gray_sample

class Tint:
    "Stands in for a network: one colour"
    name, size, saturation = 'tint', 64, 1.
    def predict_ab(self, pictures, size=None, tta=False): return [np.zeros((2, 2, 2), np.float32) for _ in pictures]
    def merge_chroma(self, picture, ab, target='rgb', saturation=None, exact=False):
        im = Image.merge('YCbCr', [picture.plane(), *(Image.new('L', picture.size, v) for v in (100, 150))])
        return im if target == 'jpeg' else im.convert('RGB')

@pytest.fixture
def s3(monkeypatch):
    "A client of an S3 server of this machine, with an empty bucket `museum`"
    moto = pytest.importorskip('moto.server', reason='no S3 server: pip install "moto[server]"')
    pytest.importorskip('s3fs', reason='no S3 for fsspec: pip install s3fs')
    import boto3
    server = moto.ThreadedMotoServer(ip_address='127.0.0.1', port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in dict(AWS_ACCESS_KEY_ID='test', AWS_SECRET_ACCESS_KEY='test', AWS_DEFAULT_REGION='us-east-1',
                            AWS_ENDPOINT_URL=f'http://{host}:{port}', NO_PROXY='*').items():
        monkeypatch.setenv(name, value)
    client = boto3.client('s3')
    client.create_bucket(Bucket='museum')
    yield client
    server.stop()

@pytest.mark.slow
def test_bucket_to_bucket(s3):
    "What is uploaded is seen by Amazon's own client, whole; a second run does nothing; parts of a folder's name differ"
    from colorize_nb.colorizer.batch import colorize_files
    f = BytesIO()
    gray_sample('moon').resize((40, 30)).save(f, 'png')
    wanted = [f'{i // 10}/{i:03}.png' for i in range(30)]
    for name in wanted: s3.put_object(Bucket='museum', Key=f'old/{name}', Body=f.getvalue())
    s3.put_object(Bucket='museum', Key='older/other.png', Body=f.getvalue())
    s3.put_object(Bucket='museum', Key='old/1/broken.jpg', Body=b'no picture')
    results = list(colorize_files('s3://museum/old', 's3://museum/new', Tint()))
    assert [r.status for r in results if 'broken' not in r.source] == ['done']*30
    assert [r.source for r in results if r.status == 'failed'] == ['s3://museum/old/1/broken.jpg']
    keys = [o['Key'] for o in s3.list_objects_v2(Bucket='museum', Prefix='new/')['Contents']]
    assert keys == [f'new/{name}' for name in wanted]
    data = s3.get_object(Bucket='museum', Key='new/2/020.png')['Body'].read()
    with Image.open(BytesIO(data)) as im: assert (im.size, im.mode) == ((40, 30), 'RGB')
    again = list(colorize_files('s3://museum/old', 's3://museum/new', Tint()))
    assert [r.status for r in again if 'broken' not in r.source] == ['skipped']*30
