// The camera: on a phone, its camera app takes the photograph; elsewhere, a dialog of this page does.

import { $, tell } from "./dom.js";
import { t } from "./texts.js";

let taken = 0;

// Calls `onTaken` with each photograph as a file.
export function withCamera(onTaken) {
  const isPhone = matchMedia("(pointer: coarse)").matches;
  $("take").hidden = $("taken").hidden = !isPhone;
  $("camera").hidden = isPhone || !navigator.mediaDevices?.getUserMedia;
  $("camera").addEventListener("click", open);
  $("cancel-camera").addEventListener("click", () => $("viewfinder").close());
  $("viewfinder").addEventListener("close", stop);
  $("shoot").addEventListener("click", async () => {
    const file = await photograph();
    $("viewfinder").close();
    await onTaken(file);
  });
}

async function open() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch (error) {
    tell($("status"), t("camera.missing", { reason: error.message || error.name }), true);
    return;
  }
  $("video").srcObject = stream;
  await $("video").play();
  $("viewfinder").showModal();
  $("shoot").focus();
}

function stop() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
}

async function photograph() {
  const video = $("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  taken += 1;
  return new File([blob], `${t("camera.file")}-${taken}.jpg`, { type: "image/jpeg" });
}
