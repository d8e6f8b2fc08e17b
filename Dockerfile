# inkfish serve without torch, 8000 inside. A key is needed, as others can reach it: -e INKFISH_KEY=…
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt CMakeLists.txt README.md LICENSE ./
COPY src src
RUN python -m venv /inkfish && /inkfish/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim
COPY --from=build /inkfish /inkfish
RUN useradd --create-home ink
USER ink
WORKDIR /home/ink
ENV INKFISH_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK CMD ["/inkfish/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready')"]
ENTRYPOINT ["/inkfish/bin/inkfish", "serve"]
