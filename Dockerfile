# One image for the migration, the workers, the projections and the payment provider.
ARG PYTHON_VERSION=3.13.16-slim-trixie

FROM python:${PYTHON_VERSION} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY requirements/ requirements/
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements/app.txt
COPY pyproject.toml README.md LICENSE ./
COPY counteract/ counteract/
# The constraint pins the build backend, hashes included.
RUN pip wheel --no-deps --build-constraint requirements/dev.txt --wheel-dir wheels . \
    && pip --python /opt/venv/bin/python install --no-deps --no-index wheels/*.whl

FROM python:${PYTHON_VERSION}
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 counteract \
    && useradd --uid 10001 --gid counteract --no-create-home --shell /usr/sbin/nologin counteract \
    && install --directory --owner=counteract --group=counteract /var/lib/counteract
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY contracts/ contracts/
COPY domain/ domain/
COPY workflows/ workflows/
COPY activities/ activities/
COPY projections/ projections/
COPY payment_provider/ payment_provider/
COPY deploy/healthcheck.py deploy/
COPY worker.py ./
# The file system is read-only later.
RUN python -m compileall -q .
USER 10001:10001
CMD ["python", "worker.py"]
