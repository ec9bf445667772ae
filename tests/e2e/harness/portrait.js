// Replaces the camera by a drawn person before the page's own scripts run, so that screenshots look like a meeting.
// `window.portrait` = { skin, hair, shirt, wall: [upper, lower] }, all CSS colours; `silent: true` replaces the microphone too.

(() => {
  const WIDTH = 1280;
  const HEIGHT = 720;
  const FRAMES_PER_SECOND = 12;

  function ellipse(pen, x, y, rx, ry, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
    pen.fill();
  }

  function wall(pen, [upper, lower]) {
    const shade = pen.createLinearGradient(0, 0, WIDTH * 0.3, HEIGHT);
    shade.addColorStop(0, upper);
    shade.addColorStop(1, lower);
    pen.fillStyle = shade;
    pen.fillRect(0, 0, WIDTH, HEIGHT);
    // A window, and a shelf with books.
    pen.fillStyle = "rgb(255 255 255 / 22%)";
    pen.fillRect(90, 70, 210, 280);
    pen.fillRect(94, 206, 202, 6);
    pen.fillStyle = "rgb(0 0 0 / 22%)";
    pen.fillRect(930, 250, 280, 12);
    ["#0003", "#fff4", "#0004", "#fff3", "#0002"].forEach((colour, index) => {
      pen.fillStyle = colour;
      pen.fillRect(945 + index * 34, 160 + (index % 3) * 14, 28, 90 - (index % 3) * 14);
    });
  }

  function person(pen, { skin, hair, shirt }, seconds) {
    const sway = Math.sin(seconds * 0.9) * 8;
    const x = WIDTH / 2 + sway;
    const blink = seconds % 3.7 < 0.15 ? 0.15 : 1;
    ellipse(pen, x - sway / 2, 800, 330, 260, shirt);
    pen.fillStyle = skin;
    pen.fillRect(x - 48, 440, 96, 130);
    ellipse(pen, x, 300, 156, 176, hair);
    ellipse(pen, x, 350, 128, 158, skin);
    pen.save();
    pen.beginPath();
    pen.rect(x - 170, 100, 340, 160);
    pen.clip();
    ellipse(pen, x, 290, 150, 165, hair);
    pen.restore();
    for (const side of [-1, 1]) {
      ellipse(pen, x + side * 50, 345, 11, 13 * blink, "#2a2320");
      ellipse(pen, x + side * 82, 405, 20, 12, "rgb(220 80 80 / 18%)");
    }
    pen.strokeStyle = "#7c3a36";
    pen.lineWidth = 7;
    pen.lineCap = "round";
    pen.beginPath();
    pen.arc(x, 410, 42, 0.2 * Math.PI, 0.8 * Math.PI);
    pen.stroke();
  }

  function portraitTrack() {
    const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
    const pen = canvas.getContext("2d", { alpha: false });
    const draw = () => {
      wall(pen, window.portrait.wall);
      person(pen, window.portrait, performance.now() / 1000);
    };
    draw();
    setInterval(draw, 1000 / FRAMES_PER_SECOND);
    return canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks()[0];
  }

  function silentTrack() {
    return new AudioContext().createMediaStreamDestination().stream.getAudioTracks()[0];
  }

  const devices = navigator.mediaDevices;
  const original = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (constraints) => {
    const stream = await original(constraints);
    const replace = (track, other) => {
      const { deviceId } = track.getSettings();
      stream.removeTrack(track);
      track.stop();
      const drawn = other();
      const settings = drawn.getSettings.bind(drawn);
      // Which device is in use is asked of the track.
      drawn.getSettings = () => ({ ...settings(), deviceId });
      stream.addTrack(drawn);
    };
    stream.getVideoTracks().forEach((track) => replace(track, portraitTrack));
    if (window.portrait.silent) stream.getAudioTracks().forEach((track) => replace(track, silentTrack));
    return stream;
  };
})();
